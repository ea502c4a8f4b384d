"""One side of a comparison in a process of its own: `python -m benchmarks.rivals SIDE FAMILY ...`, driven by lines of JSON; see `benchmarks.against_pytorch`.

Sides: "jaxgan"; "pytorch" (channels last); "pytorch-contiguous" (channels first); "pytorch-compiled" (channels last, torch.compile); "pytorch-grouped"
(StyleGAN2 with grouped convolutions, on GPUs); "pytorch-spinning" (on a CPU, with OpenMP's own way to wait). A request {"kind": step or null, "count": n} makes
n steps and is answered by {"seconds": of one}; {"layers": [...]} times convolutions; of jaxgan, {"limits": true} asks for `limits`, and
{"trace": folder, "kinds": [...]} keeps a profile of steps. Each process may use all cores, and sleeps while the other works.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from benchmarks import record
from experiments.support.memory import keep_freed

SIDES = (
    "jaxgan",
    "pytorch",
    "pytorch-contiguous",
    "pytorch-compiled",
    "pytorch-grouped",
    "pytorch-spinning",
)
Run = Callable[[int | None, int], float]
"""(what `State.step` is set to before each step, or None; how many steps) -> seconds of one."""


def ours(family: Any, config: Any, batch_size: int) -> Run:
    """jaxgan's step on one device, the state donated."""
    import jax
    import jax.numpy as jnp

    from benchmarks.cases import initial_state
    from benchmarks.torch_models.batches import random_batch
    from jaxgan import parallel

    held = [initial_state(family, config)]
    batch = jax.device_put(random_batch(family, config, batch_size, 0))
    step, key = parallel.jit_step(family, config), jax.random.key(1)

    def run(kind: int | None, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            state = held[0] if kind is None else held[0].replace(step=jnp.int32(kind))
            held[0], _ = step(state, batch, key)
        jax.block_until_ready(held[0])
        return (time.perf_counter() - begin) / count

    return run


def limits(family: Any, config: Any, batch_size: int) -> dict[str, Any]:
    """What a step asks for, and what the device can do at best: flops and bytes (`cases.arithmetic`), peak_flops_per_s and peak_bytes_per_s, measured here."""
    from benchmarks import cases
    from benchmarks.step_time import measured_peak

    asked, peak = (
        cases.arithmetic(cases.Case("", family, config, batch_size, 1)),
        measured_peak(config.dtype),
    )
    return {
        "flops": asked["flops"],
        "bytes": asked["bytes"],
        "peak_flops_per_s": peak["flops"],
        "peak_bytes_per_s": peak["bytes"],
    }


def theirs(
    side: str, name: str, family: Any, config: Any, batch_size: int, device: str, dtype: str
) -> tuple[Run, Any]:
    """The step in PyTorch, and the game."""
    import torch

    from benchmarks.torch_models import learning
    from benchmarks.torch_models.batches import random_batch, tensors
    from benchmarks.torch_models.games import GAMES

    # PyTorch 2.11 does not compile DCGAN's last layer with channels last: "expected size 512==512, stride 16==1 at dim=1".
    last = side != "pytorch-contiguous" and (side, name) != ("pytorch-compiled", "dcgan")
    options = learning.Options(
        device, dtype, last, side == "pytorch-compiled", side == "pytorch-grouped"
    )
    learning.prepare(options, record.cores())
    torch.manual_seed(0)
    game = GAMES[name](config, options)
    batch = tensors(random_batch(family, config, batch_size, 0), options)

    def run(kind: int | None, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            if kind is not None:
                game.rounds = kind
            game.step(batch)
        if device != "cpu":
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / count

    return run, (game, batch)


def traced(run: Run, folder: str, kinds: Sequence[int | None]) -> float:
    """Seconds of one step of each kind, watched by JAX's profiler, whose files (for TensorBoard or Perfetto) come into `folder`."""
    import jax

    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # calls of Python would be most of the file
    with jax.profiler.trace(folder, profiler_options=options):
        return sum(run(kind, 1) for kind in kinds)


# -------------------------------------------------------------------------------------------------------------- convolutions

Layer = dict[str, Any]
"""A convolution: transposed, shape x [B, C, H, W], outputs, kernel, stride, padding, output_padding; count, how often a step's forward passes have it."""


def layers_of(game: Any, batch: Any) -> list[Layer]:
    """The different convolutions of one step in PyTorch that are not grouped, as often as they are called."""
    import torch
    from torch.nn import functional

    found: dict[str, Layer] = {}
    originals = {name: getattr(functional, name) for name in ("conv2d", "conv_transpose2d")}

    def watched(name: str) -> Callable[..., torch.Tensor]:
        def call(
            x: Any,
            weight: Any,
            bias: Any = None,
            stride: Any = 1,
            padding: Any = 0,
            *rest: Any,
            **options: Any,
        ) -> torch.Tensor:
            transposed = name == "conv_transpose2d"
            extra = options.get("output_padding", rest[0] if transposed and rest else 0)
            groups = options.get("groups", rest[1] if len(rest) > 1 else 1)
            if groups == 1:
                numbers = [
                    int(value[0] if isinstance(value, tuple | list) else value)
                    for value in (stride, padding, extra if transposed else 0)
                ]
                layer = {
                    "transposed": transposed,
                    "x": list(x.shape),
                    "outputs": weight.shape[int(transposed)],
                    "kernel": list(weight.shape[2:]),
                }
                layer |= dict(zip(("stride", "padding", "output_padding"), numbers, strict=True))
                found.setdefault(json.dumps(layer), {**layer, "count": 0})["count"] += 1
            result: torch.Tensor = originals[name](
                x, weight, bias, stride, padding, *rest, **options
            )
            return result

        return call

    try:
        for name in originals:
            setattr(functional, name, watched(name))
        game.step(batch)
    finally:
        for name, original in originals.items():
            setattr(functional, name, original)
    return list(found.values())


def operations(layer: Layer) -> int:
    """Of a forward pass, padding counted: a multiplication and an addition are two."""
    batch, inputs, height, width = layer["x"]
    pixels = (
        height * width
        if layer["transposed"]
        else prod(_side(layer, side, i) for i, side in enumerate((height, width)))
    )
    return 2 * batch * inputs * layer["outputs"] * prod(layer["kernel"]) * pixels


def _side(layer: Layer, side: int, axis: int) -> int:
    size: int = (side + 2 * layer["padding"] - layer["kernel"][axis]) // layer["stride"] + 1
    return size


def time_layer_ours(layer: Layer, repetitions: int) -> float:
    """Seconds of a forward pass with both gradients."""
    import jax
    import jax.numpy as jnp

    from benchmarks import timing
    from jaxgan.nn.convolution import conv2d, conv_transpose2d

    batch, inputs, height, width = layer["x"]
    x = jax.random.normal(jax.random.key(0), (batch, height, width, inputs))
    kernel = (
        jax.random.normal(jax.random.key(1), (*layer["kernel"], inputs, layer["outputs"])) * 0.02
    )

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if layer["transposed"]:
            return conv_transpose2d(
                x, kernel, layer["stride"], layer["padding"], layer["output_padding"]
            )
        return conv2d(x, kernel, layer["stride"], layer["padding"])

    gradient = jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.square(forward(x, kernel))), (0, 1)))
    return min(timing.repeat(lambda: gradient(x, kernel), repetitions, warm_up=2))


def time_layer_theirs(layer: Layer, repetitions: int, channels_last: bool, device: str) -> float:
    """Seconds of a forward pass with both gradients."""
    import torch
    from torch.nn import functional

    memory = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(layer["x"], device=device).to(memory_format=memory).requires_grad_()
    shape = (
        (x.shape[1], layer["outputs"]) if layer["transposed"] else (layer["outputs"], x.shape[1])
    )
    weight = (
        (torch.randn(*shape, *layer["kernel"], device=device) * 0.02)
        .to(memory_format=memory)
        .requires_grad_()
    )
    best = float("inf")
    for i in range(repetitions + 2):
        begin = time.perf_counter()
        if layer["transposed"]:
            y = functional.conv_transpose2d(
                x, weight, None, layer["stride"], layer["padding"], layer["output_padding"]
            )
        else:
            y = functional.conv2d(x, weight, None, layer["stride"], layer["padding"])
        slopes = torch.autograd.grad(y.square().sum(), (x, weight))
        if device != "cpu":
            torch.cuda.synchronize()
        del y, slopes
        if i >= 2:
            best = min(best, time.perf_counter() - begin)
    return best


# ------------------------------------------------------------------------------------------------------------------- process


def main(arguments: Sequence[str] | None = None) -> None:
    """Build one side and answer requests until the input ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("family")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cores", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.cores:
        os.sched_setaffinity(
            0, sorted(os.sched_getaffinity(0))[: options.cores]
        )  # before either library counts them
    keep_freed()  # as the experiments do, and for PyTorch too, which gains by it as well
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to stderr
    from benchmarks.pytorch_cases import config_of
    from benchmarks.torch_models.batches import FAMILIES

    family, config = (
        FAMILIES[options.family],
        config_of(options.family, options.size, options.dtype),
    )
    game: Any = None
    if options.side == "jaxgan":
        run, told = (
            ours(family, config, options.batch),
            record.provenance(config, dtype=options.dtype, batch=options.batch),
        )
    else:
        import torch

        run, game = theirs(
            options.side,
            options.family,
            family,
            config,
            options.batch,
            options.device,
            options.dtype,
        )
        told = {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    answer({"ready": told})
    for line in sys.stdin:
        request = json.loads(line)
        if "layers" in request and request["layers"] is None:
            answer({"layers": layers_of(*game)})
        elif "limits" in request:
            answer(limits(family, config, options.batch))
        elif "trace" in request:
            answer({"seconds": traced(run, request["trace"], request["kinds"])})
        elif "layers" in request:
            last, device, n = (
                options.side != "pytorch-contiguous",
                options.device,
                request["repetitions"],
            )
            answer(
                {
                    "seconds": [
                        time_layer_theirs(one, n, last, device) if game else time_layer_ours(one, n)
                        for one in request["layers"]
                    ]
                }
            )
        else:
            answer({"seconds": run(request["kind"], request["count"])})


if __name__ == "__main__":
    main()
