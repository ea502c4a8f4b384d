"""A trained generator for use without this library: a StableHLO program, its weights, and how to call it.

    program.jax           what `jax.export.deserialize` reads: (weights, inputs) -> images
    program.stablehlo     the same as a portable StableHLO artifact, for other tools
    weights.safetensors   arrays by name, those alone that the program reads
    model.json            family, config, names of classes and attributes, inputs and output by name, shape and range, versions, SHA-256 of the other three

The program is lowered for CPU, CUDA and TPU at once and takes batches of any number B. Everything that it is given is an array: numbers that a family
would draw are inputs. `weights` and `inputs` are plain dicts of arrays:

    exported = jax.export.deserialize(bytearray(Path("out/program.jax").read_bytes()))
    weights = safetensors.numpy.load_file("out/weights.safetensors")
    images = jax.jit(exported.call)(weights, {"latents": latents})

How long JAX reads what it wrote: https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees (half a year at least); the other files last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import RunError, require
from jaxgan.family import Generates, Styled, Translates, conditioning, short_name
from jaxgan.pictures.images import write_whole
from jaxgan.records import checkpoint, integrity, naming
from jaxgan.records.config_io import to_dict
from jaxgan.records.naming import Names
from jaxgan.state import State

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, STABLEHLO, WEIGHTS, DESCRIPTION = (
    "program.jax",
    "program.stablehlo",
    "weights.safetensors",
    "model.json",
)
BATCH = "B"
NAMELESS = Names()

SPADE_PARAMETERS = {"layouts": "", "instances": "instances", "styles": "style"}
Arrays = Mapping[str, Any]
SEEDS = "any two numbers for each image; the same ones draw the same"


class Input(NamedTuple):
    """One input of a program, [B, *shape].

    low, high: the range of its values, ends included unless `meaning` says otherwise; None where there is no bound.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None
    meaning: str


class Program(NamedTuple):
    """function: (averaged variables as in `State.ema`, inputs [B, ...] by name) -> images [B, H, W, C]. inputs: what it takes, by name."""

    function: Callable[[Any, Arrays], jax.Array]
    inputs: dict[str, Input]


def program(
    family: ModuleType,
    config: Any,
    *,
    direction: str | None = None,
    image_size: tuple[int, int] | None = None,
    noise: str | None = None,
) -> Program:
    """What a family's generator or translator computes, as a function of arrays.

    A family that samples must have `generate(config, state, latents, ...)`.

    Args:
      direction: of a translator that has two, "a2b" (None) or "b2a".
      image_size: (height, width) of what is translated; None: the config's.
      noise: of a generator with noise, "random" (None), of seeds that become an input, "constant" or "none".

    Raises ValueError: an option that the family has no use for, or that does not fit.
    """
    name = short_name(family)
    if isinstance(family, Translates):
        require(noise is None, f"{name} has no noise to choose: leave noise out")
        return _translator(family, config, direction, image_size or config.image_size)
    require(
        isinstance(family, Generates),
        f"{name} cannot be exported: its module needs generate(config, state, latents), or translate(config, state, images)",
    )
    require(
        direction is None and image_size is None,
        f"{name} draws images of one size from noise: leave direction and image size out",
    )
    styled = isinstance(family, Styled)
    require(noise is None or styled, f"{name} has no noise to choose: leave noise out")
    return _generator(family, config, (noise or "random") if styled else None)


def _generator(family: ModuleType, config: Any, noise: str | None) -> Program:
    make, told = family.generate, conditioning(family, config)
    uniform = told.latent_range is not None
    low, high = told.latent_range or (None, None)
    inputs = {
        "latents": Input(
            (config.latent_size,),
            "float32",
            low,
            high,
            "uniform in this range" if uniform else "standard normal",
        )
    }
    if told.classes:
        inputs["labels"] = Input(
            (), "int32", 0, told.classes - 1, "numbers of classes, whose names are in `names`"
        )
    if noise is not None:
        inputs["truncation"] = Input(
            (),
            "float32",
            0.0,
            None,
            "how far styles go from their mean: 1 all the way, 0.7 usual for pictures",
        )
    if noise == "random":
        inputs["seeds"] = Input((2,), "uint32", 0, 2**32 - 1, f"{SEEDS} noise")

    def function(ema: Any, arrays: Arrays) -> jax.Array:
        named = {name: arrays[name] for name in ("labels",) if name in arrays}
        if noise is not None:
            named |= {"truncation": arrays["truncation"][:, None, None], "noise": noise}
        if "seeds" in arrays:
            named["keys"] = jax.random.wrap_key_data(arrays["seeds"], impl="threefry2x32")
        images: jax.Array = make(config, _state(ema), arrays["latents"], **named)
        return images

    return Program(function, inputs)


def _translator(
    family: ModuleType, config: Any, direction: str | None, size: tuple[int, int]
) -> Program:
    require(len(size) == 2 and min(size) > 0, f"image size must be (height, width), got {size}")
    inputs, fixed, names = _conditions(family, config, direction, tuple(size))
    if conditioning(family, config).random_translation:
        inputs["seeds"] = Input((2,), "uint32", 0, 2**32 - 1, f"{SEEDS} dropout")

    def one(ema: Any, arrays: Arrays) -> jax.Array:
        named = {parameter: arrays[name][None] for name, parameter in names.items()}
        first = named.pop("")
        if "seeds" in arrays:
            named["key"] = jax.random.wrap_key_data(arrays["seeds"], impl="threefry2x32")
        images: jax.Array = family.translate(config, _state(ema), first, **named, **fixed)
        return images[0]

    return Program(jax.vmap(one, in_axes=(None, 0)), inputs)


def _conditions(
    family: ModuleType, config: Any, direction: str | None, size: tuple[int, ...]
) -> tuple[dict[str, Input], dict[str, Any], dict[str, str]]:
    """What is translated: the inputs; settings of `translate`; and by input, its parameter there, "" for the first."""
    told = conditioning(family, config)
    if told.kind == "sides":
        way = direction or told.directions[0]
        channels = told.sides["ab".index(way[0])]
        return {"images": _pixels((*size, channels))}, {"direction": way}, {"images": ""}
    require(
        direction is None, f"{short_name(family)} has one way to translate: leave direction out"
    )
    if told.kind == "attributes":
        count, columns = len(told.attributes), ", ".join(told.attributes)
        inputs = {"images": _pixels((*size, config.channels))}
        inputs["attributes"] = Input(
            (count,), "float32", 0.0, 1.0, f"0 or 1, what the result is to show; columns {columns}"
        )
        if not told.known:
            return inputs, {}, {"images": "", "attributes": "attributes"}
        inputs["sets"] = Input(
            (), "int32", 0, len(told.known) - 1, "the data set whose attributes are meant"
        )
        return inputs, {}, {"images": "", "attributes": "attributes", "sets": "sets"}
    last = told.classes - (not told.unknown)
    inputs = {
        "layouts": Input(
            size,
            "int32",
            0,
            last,
            "the class of each pixel" + f"; {last} is unknown" * told.unknown,
        )
    }
    if told.instances:
        inputs["instances"] = Input(
            size, "int32", 0, None, "a number for each thing, at all of its pixels"
        )
    if told.style_size:
        inputs["styles"] = Input(
            (told.style_size,), "float32", None, None, "standard normal, or what encode_style gives"
        )
    return (
        inputs,
        {},
        {name: parameter for name, parameter in SPADE_PARAMETERS.items() if name in inputs},
    )


def _pixels(shape: tuple[int, ...]) -> Input:
    return Input(shape, "float32", -1.0, 1.0, "pixels, [H, W, C]; of 8-bit ones v, v / 127.5 - 1")


def _state(ema: Any) -> State:
    return State(jnp.int32(0), jnp.int32(0), {}, ema, {})


# ---------------------------------------------------------------------------------------------------------------------- files


class Exported(NamedTuple):
    """What is written: a program that was lowered, `jax.export.Exported`, and the weights that it takes, by name."""

    program: Any
    weights: dict[str, np.ndarray]


def lower(chosen: Program, ema: Any, platforms: tuple[str, ...] = PLATFORMS) -> Exported:
    """Trace and lower a program for weights like these. No device is needed, nor one of these platforms."""
    named = dict(integrity.paths(ema))
    every = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in named.items()}
    structure = jax.tree.structure(ema)

    def function(weights: Arrays, inputs: Arrays) -> jax.Array:
        leaves = [
            weights[name] if name in weights else jnp.zeros(every[name].shape, every[name].dtype)
            for name in named
        ]
        return chosen.function(jax.tree.unflatten(structure, leaves), inputs)

    (batch,) = jax.export.symbolic_shape(BATCH)
    inputs = {
        name: jax.ShapeDtypeStruct((batch, *one.shape), one.dtype)
        for name, one in chosen.inputs.items()
    }
    read = _read(function, every, inputs)
    weights = {name: np.asarray(jax.device_get(named[name])) for name in read}
    return Exported(
        jax.export.export(jax.jit(function), platforms=platforms)(
            {name: every[name] for name in read}, inputs
        ),
        weights,
    )


def _read(function: Callable, weights: Arrays, inputs: Arrays) -> list[str]:
    """The weights that are read at all: a CycleGAN has another generator beside this one."""
    jaxpr = jax.make_jaxpr(function)(weights, inputs).jaxpr
    used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    return [name for name, variable in zip(sorted(weights), jaxpr.invars) if id(variable) in used]


def save(
    out: str | Path,
    family: ModuleType,
    config: Any,
    state: State,
    *,
    direction: str | None = None,
    image_size: tuple[int, int] | None = None,
    noise: str | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
    names: Names = NAMELESS,
) -> Path:
    """Write the averaged generator of `state` into the folder `out`, which is made; each file whole or not at all, the description last. Returns `out`.

    Args:
      family, config, state: as `jaxgan.checkpoint.load` gives them.
      direction, image_size, noise: see `program`.
      names: what classes and attributes are called, as `jaxgan.checkpoint.names` tells.

    Raises:
      ValueError: as `program`.
      RunError: flatbuffers or safetensors is not installed, or `out` cannot be written.
    """
    require_packages()
    import safetensors.numpy

    chosen = program(family, config, direction=direction, image_size=image_size, noise=noise)
    exported = lower(chosen, state.ema, platforms)
    files = {
        PROGRAM: bytes(exported.program.serialize()),
        STABLEHLO: exported.program.mlir_module_serialized,
        WEIGHTS: safetensors.numpy.save(exported.weights),
    }
    settings = {"direction": direction, "image_size": image_size, "noise": noise}
    about = {
        "format": FORMAT,
        "family": family.__name__,
        "config": to_dict(config),
        "settings": {name: value for name, value in settings.items() if value is not None},
        **({naming.KEY: names.to_dict()} if any(names) else {}),
        "images": int(state.images),
        "steps": int(state.step),
        **_described(chosen, exported),
        "versions": checkpoint.versions() | {"jaxgan": checkpoint.version("jaxgan")},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    for name, content in (*files.items(), (DESCRIPTION, json.dumps(about, indent=1).encode())):
        write_whole(Path(out) / name, content)
    return Path(out)


def _described(chosen: Program, exported: Exported) -> dict[str, Any]:
    made = exported.program.out_avals[0]

    def shape(sizes: tuple[Any, ...]) -> list[int | str]:
        return [size if isinstance(size, int) else str(size) for size in sizes]

    inputs = [
        {
            "name": name,
            "dtype": one.dtype,
            "shape": [BATCH, *one.shape],
            "range": [one.low, one.high],
            "meaning": one.meaning,
        }
        for name, one in chosen.inputs.items()
    ]
    flat = ["the platform's number in `platforms`, int32 []"] * (
        len(exported.program.platforms) > 1
    )
    return {
        "platforms": list(exported.program.platforms),
        "inputs": inputs,
        "output": {
            "name": "images",
            "dtype": str(made.dtype),
            "shape": shape(made.shape),
            "range": [-1.0, 1.0],
            "meaning": "pixels, [B, H, W, C]",
        },
        "stablehlo_arguments": flat
        + [f"weights {name}" for name in sorted(exported.weights)]
        + [f"inputs {name}" for name in sorted(chosen.inputs)],
    }


def require_packages() -> None:
    """Raise RunError unless what writes the files is installed."""
    for package in ("flatbuffers", "safetensors"):
        try:
            import_module(package)
        except ImportError:
            raise RunError(
                f"exporting needs the package {package}: pip install 'jaxgan[export]', or pip install flatbuffers safetensors"
            ) from None
