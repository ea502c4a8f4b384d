"""Exported generators, called by a process that knows nothing of this library, against `sample` and `translate` on the same inputs."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import export as command
from jaxgan.errors import RunError
from jaxgan.export import stablehlo as export
from jaxgan.records import integrity
from jaxgan.state import State
from tests.contract.helpers import EVERY, make_batch
from tests.families_under_test import CASES

pytest.importorskip("flatbuffers")
safetensors = pytest.importorskip("safetensors.numpy")

FAST = ("cgan", "dcgan", "stargan", "stylegan")
VARIANTS = (
    "cgan conv",
    "dcgan labels",
    "dcgan resnet",
    "acgan resnet",
    "pix2pix densenet",
    "stargan sets",
    "spade styles",
)
VARIANTS += ("stylegan labels", "stylegan first")
FURTHER = (*(name for name in CASES if name not in FAST), *VARIANTS)
KEY = jax.random.key(5)
COUNT = 3

ELSEWHERE = """
import sys, json, pathlib
import jax, jax.export, numpy, safetensors.numpy
for folder in map(pathlib.Path, sys.argv[1:]):
    exported = jax.export.deserialize(bytearray((folder / "program.jax").read_bytes()))
    weights = safetensors.numpy.load_file(folder / "weights.safetensors")
    inputs = {x["name"]: numpy.load(folder / (x["name"] + ".npy")) for x in json.loads((folder / "model.json").read_text())["inputs"]}
    call = jax.jit(exported.call)
    numpy.save(folder / "images.npy", call(weights, inputs))
    if "--one" in folder.name:
        numpy.save(folder / "one.npy", call(weights, {name: array[:1] for name, array in inputs.items()}))
assert not {name.partition(".")[0] for name in sys.modules} & {"jaxgan", "flax", "orbax", "optax"}, "the library was imported"
"""


@functools.cache
def random_state(family, config):
    """A state of random weights, biases and statistics too. Not `init`, which is slow to compile."""
    random = np.random.default_rng(3)

    def fill(path, leaf):
        positive, small = (
            path.endswith(("var", "scale")),
            0.1 if path.endswith("bias") else max(1, math.prod(leaf.shape[:-1])) ** -0.5,
        )
        small *= (
            100 if "mapping" in path else 1
        )  # StyleGAN's learns a hundred times slower, and stores a hundred times as much
        values = (
            random.uniform(0.5, 1.5, leaf.shape)
            if positive
            else small * random.normal(size=leaf.shape)
        )
        return values.astype(leaf.dtype)

    abstract = jax.eval_shape(functools.partial(family.init, config), KEY).ema
    ema = jax.tree.unflatten(
        jax.tree.structure(abstract), [fill(path, leaf) for path, leaf in integrity.paths(abstract)]
    )
    return State(np.int32(7), np.int32(700), {}, ema, {})


def settings(name):
    """Other than the defaults: the second direction, other sizes that have to be padded, fixed noise."""
    sizes = {"stargan": {"image_size": (6, 9)}, "spade": {"image_size": (5, 7)}}
    return (
        sizes | {"cyclegan": {"direction": "b2a"}, "stylegan first": {"noise": "constant"}}
    ).get(name, {})


def asked(name, about):
    """Inputs for a program, and the images that the family itself makes of them."""
    family, config = EVERY[name].family, EVERY[name].config
    state, size, chosen = (
        random_state(family, config),
        settings(name).get("image_size", config.image_size),
        settings(name),
    )
    keys = [jax.random.fold_in(KEY, i) for i in range(COUNT)]
    inputs, named = {}, {}
    if hasattr(family, "sample"):
        (low, high) = about["inputs"][0]["range"]
        draw = (
            jax.random.normal
            if low is None
            else lambda key, shape: jax.random.uniform(key, shape, minval=low, maxval=high)
        )
        inputs["latents"] = np.stack([draw(key, (config.latent_size,)) for key in keys])
        if getattr(config, "classes", 0):
            inputs["labels"] = named["labels"] = np.arange(COUNT, dtype=np.int32) % config.classes
        if name.startswith("stylegan"):
            named |= {"truncation": 0.7, "noise": chosen.get("noise", "random")}
            inputs |= {
                "truncation": np.full(COUNT, 0.7, np.float32),
                "seeds": np.stack([jax.random.key_data(key) for key in keys]),
            }
        return inputs, jax.jit(lambda state: family.sample(config, state, KEY, COUNT, **named))(
            state
        )
    batch = make_batch(family, config, COUNT)
    random = np.random.default_rng(1)
    if "layout" in batch:
        inputs["layouts"] = random.integers(0, config.classes, (COUNT, *size)).astype(np.int32)
        if config.instance_edges:
            inputs["instances"] = named["instances"] = random.integers(0, 3, (COUNT, *size)).astype(
                np.int32
            )
        if config.encoder:
            inputs["styles"] = named["style"] = random.normal(
                size=(COUNT, config.style_size)
            ).astype(np.float32)
        first = inputs["layouts"]
    else:
        channels = about["inputs"][0]["shape"][-1]
        first = inputs["images"] = random.uniform(-1, 1, (COUNT, *size, channels)).astype(
            np.float32
        )
    if "attributes" in batch:
        inputs["attributes"] = named["attributes"] = batch["attributes"][:COUNT]
        if config.known:
            inputs["sets"] = named["sets"] = batch["set"][:COUNT]
    if "direction" in chosen:
        named["direction"] = chosen["direction"]
    if not name.startswith("pix2pix"):
        return inputs, jax.jit(lambda state: family.translate(config, state, first, **named))(state)
    inputs["seeds"] = np.stack([jax.random.key_data(key) for key in keys])
    one = jax.jit(lambda state, image, key: family.translate(config, state, image[None], key=key))
    return inputs, np.concatenate(
        [one(state, image, key) for image, key in zip(first, keys, strict=True)]
    )


def written(names, folder):
    """Export every case, call it in a fresh process, and return by name: its folder, and what its images should be."""
    expected = {}
    for name in names:
        family, config, out = (
            EVERY[name].family,
            EVERY[name].config,
            folder / (name.replace(" ", "-") + "--one" * (name in ("cgan", "stargan"))),
        )
        export.save(out, family, config, random_state(family, config), **settings(name))
        inputs, images = asked(name, json.loads((out / "model.json").read_text()))
        for key, array in inputs.items():
            np.save(out / f"{key}.npy", array)
        expected[name] = (out, np.asarray(images))
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("PYTHONPATH")
    } | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *(str(out) for out, _ in expected.values())],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return expected


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return written(FAST, tmp_path_factory.mktemp("exports"))


def assert_same_images(out: Path, images: np.ndarray, tolerance: float = 1e-5) -> None:
    made = np.load(out / "images.npy")
    assert made.dtype == np.float32
    assert made.std() > 1e-3
    assert np.abs(made[0] - made[1]).max() > 1e-4  # what was asked for counts
    np.testing.assert_allclose(made, images, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", FAST)
def test_a_process_without_the_library_makes_the_same_images(exports, name):
    assert_same_images(*exports[name])


@pytest.mark.parametrize("name", ["cgan", "stargan"])
def test_any_number_at_once(exports, name):
    out, images = exports[name]
    np.testing.assert_allclose(np.load(out / "one.npy"), images[:1], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_further_architectures_in_a_process_without_the_library(tmp_path):
    for name, (out, images) in written(FURTHER, tmp_path).items():
        assert_same_images(
            out, images, 1e-5 if name in CASES else 1e-4
        )  # norms of tiny networks enlarge rounding


def test_the_description_says_how_to_call_the_program(exports):
    out, images = exports["cgan"]
    about = json.loads((out / "model.json").read_text())
    config = CASES["cgan"].config
    assert about["family"] == "jaxgan.families.cgan"
    assert about["config"]["latent_size"] == 8
    assert about["images"] == 700
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    latents, labels = about["inputs"]
    assert (latents["name"], latents["dtype"], latents["shape"], latents["range"]) == (
        "latents",
        "float32",
        ["B", 8],
        [0.0, 1.0],
    )
    assert (labels["name"], labels["dtype"], labels["shape"], labels["range"]) == (
        "labels",
        "int32",
        ["B"],
        [0, config.classes - 1],
    )
    assert about["output"]["shape"] == ["B", *images.shape[1:]]
    assert about["output"]["range"] == [-1.0, 1.0]
    assert {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in about["sha256"]
    } == about["sha256"]
    assert set(about["sha256"]) == {"program.jax", "program.stablehlo", "weights.safetensors"}
    weights = safetensors.load_file(out / "weights.safetensors")
    platform, *flat = about["stablehlo_arguments"]
    assert "platform" in platform
    assert flat == [f"weights {name}" for name in sorted(weights)] + [
        "inputs labels",
        "inputs latents",
    ]
    kernel = random_state(CASES["cgan"].family, config).ema["params"]
    flattened = dict(integrity.paths({"params": kernel}))
    assert set(weights) == set(flattened)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, flattened[name])


def test_only_the_weights_that_count_are_written():
    family, config = CASES["cyclegan"][:2]
    ema = random_state(family, config).ema
    names = set(dict(integrity.paths(ema)))
    for direction in ("a2b", "b2a"):
        weights = export.lower(
            export.program(family, config, direction=direction), ema, ("cpu",)
        ).weights
        assert set(weights) == {name for name in names if direction in name}
        assert 0 < len(weights) < len(names)


def test_each_platform_has_its_own_form_of_convolution(exports):
    family, config = CASES["dcgan"][:2]
    chosen, ema = export.program(family, config), random_state(family, config).ema
    cpu, gpu = (
        export.lower(chosen, ema, (platform,)).program.mlir_module() for platform in ("cpu", "cuda")
    )
    # Zeros between the pixels of the two transposed convolutions with a stride, but between rows only where columns are the channels of an image; on a CPU,
    # phases instead.
    spread, of_rows = "lhs_dilate = [2, 2]", "lhs_dilate = [2, 1]"
    assert gpu.count("stablehlo.convolution") == 3
    assert [
        [program.count(dilation) for dilation in (spread, of_rows)] for program in (gpu, cpu)
    ] == [[1, 1], [0, 0]]
    assert len(exports["dcgan"][0].joinpath("program.stablehlo").read_bytes()) > 1000


def test_options_that_a_family_has_no_use_for_are_refused():
    for name, options, message in [
        ("gan", {"direction": "a2b"}, "leave direction and image size out"),
        ("gan", {"noise": "none"}, "has no noise to choose"),
        ("spade", {"direction": "a2b"}, "one way to translate"),
        ("pix2pix", {"noise": "none"}, "has no noise to choose"),
        ("pix2pix", {"image_size": (0, 8)}, "image size must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            export.program(*CASES[name][:2], **options)
    family, config = CASES["pix2pix"][:2]
    with pytest.raises(ValueError, match="translates a2b only, not b2a"):
        export.lower(
            export.program(family, config, direction="b2a"), random_state(family, config).ema
        )


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(
        RunError, match=r"needs the package flatbuffers: pip install 'jaxgan\[export\]'"
    ):
        export.save(tmp_path, *CASES["gan"][:2], random_state(*CASES["gan"][:2]))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(monkeypatch):
    import jaxgan.records.checkpoint

    family, config = CASES["gan"][:2]
    monkeypatch.setattr(
        jaxgan.checkpoint,
        "load",
        lambda folder: (family, config, random_state(family, config).replace(players={})),
    )


def test_the_command_writes_checks_and_says_so(run, tmp_path, capsys):
    command.main(["a-run", str(tmp_path / "out")])
    assert "equal to the run to" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "program.jax",
        "program.stablehlo",
        "weights.safetensors",
        "model.json",
    }
    with pytest.raises(SystemExit) as exit_status:
        command.main(["a-run", str(tmp_path / "out")])
    assert exit_status.value.code == 2
    assert "is not empty: give --overwrite" in capsys.readouterr().err


def test_the_check_sees_other_weights(run, tmp_path):
    family, config = CASES["gan"][:2]
    state = random_state(family, config)
    export.save(tmp_path, family, config, state)
    chosen = export.program(family, config)
    assert command.compare(tmp_path, chosen, state.ema) < 1e-6
    weights = safetensors.load_file(tmp_path / "weights.safetensors")
    name = next(name for name in sorted(weights) if name.endswith("kernel"))
    safetensors.save_file(
        weights | {name: weights[name] + np.float32(0.1)}, tmp_path / "weights.safetensors"
    )
    assert command.compare(tmp_path, chosen, state.ema) > 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_random_inputs_are_in_range(name):
    chosen = export.program(*EVERY[name][:2])
    inputs = command.random_inputs(chosen, 4)
    assert set(inputs) == set(chosen.inputs)
    for key, one in chosen.inputs.items():
        array = inputs[key]
        assert array.dtype == one.dtype
        assert array.shape == (4, *one.shape)
        assert one.low is None or array.min() >= one.low
        assert one.high is None or array.max() <= one.high
