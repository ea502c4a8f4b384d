"""Time `jaxgan.nn.convolution` and `jaxgan.nn.channels` against plain `lax`, layer by layer and in one whole step: `python -m benchmarks.conv`.

Prints one JSON line per measurement and appends it to the results. Both forms of a pair are timed in turns in the same process, so that other load on the
machine falls on both; their ratio is of the two minima. Times are milliseconds of wall clock for one execution, compilation excluded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import record
from experiments.support.common import one_sentence_errors
from jaxgan.nn.channels import apart, beside
from jaxgan.nn.convolution import Symbols, conv2d, conv2d_of_symbols, conv_transpose2d

# name: (transposed, batch, height, inputs, outputs, kernel, stride, padding)
LAYERS: dict[str, tuple[bool, int, int, int, int, int, int, int]] = {
    "dcgan-generator-8": (True, 32, 8, 256, 128, 4, 2, 1),
    "dcgan-generator-16": (True, 32, 16, 128, 64, 4, 2, 1),
    "dcgan-generator-32-to-rgb": (True, 32, 32, 64, 3, 4, 2, 1),
    "dcgan-discriminator-32": (False, 32, 32, 64, 128, 4, 2, 1),
    "patchgan-last": (False, 1, 31, 512, 1, 4, 1, 1),
    "translator-block": (False, 1, 32, 256, 256, 3, 1, 1),
    "translator-down": (False, 1, 128, 64, 128, 3, 2, 1),
    "translator-to-rgb": (False, 1, 134, 64, 3, 7, 1, 0),
    "spade-256": (False, 1, 256, 32, 32, 3, 1, 1),
}

# name: (height, channels of each part)
CHANNELS: dict[str, tuple[int, tuple[int, ...]]] = {
    "channels-layout-and-image": (256, (33, 3)),
    "channels-unet-skip": (128, (64, 64)),
}

# name: (height, classes, outputs)
LAYOUTS: dict[str, tuple[int, int, int]] = {"layout-256": (256, 33, 96), "layout-64": (64, 33, 96)}


def lax_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Return the convolution as a JAX user would write it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def lax_transpose(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Return the transposed convolution as a JAX user would write it."""
    pads = [(k - 1 - padding, k - 1 - padding) for k in kernel.shape[:2]]
    return lax.conv_transpose(
        x, kernel[::-1, ::-1], (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def race(
    forms: Mapping[str, Callable[..., Any]], arguments: tuple[Any, ...], repeats: int, budget: float
) -> dict[str, dict[str, Any]]:
    """Time compiled forms in turns: at most `repeats` rounds, and no new one after `budget` seconds (but two at least)."""
    compiled = {name: jax.jit(form) for name, form in forms.items()}
    for form in compiled.values():
        jax.block_until_ready(form(*arguments))
    times: dict[str, list[float]] = {name: [] for name in forms}
    start = time.perf_counter()
    for done in range(repeats):
        if done >= 2 and time.perf_counter() - start > budget:
            break
        for name, form in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(form(*arguments))
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {
        name: {"min_ms": round(min(t), 3), "median_ms": round(statistics.median(t), 3), "n": len(t)}
        for name, t in times.items()
    }


def layer_forms(
    conv: Callable[..., jax.Array], stride: int, padding: int
) -> dict[str, Callable[..., Any]]:
    """Return forward, gradient in images and kernel, and two such gradients in a scan."""

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv(x, kernel, stride, padding)

    gradient = jax.grad(lambda x, kernel: jnp.sum(jnp.square(forward(x, kernel))), (0, 1))

    def scanned(x: jax.Array, kernel: jax.Array) -> Any:
        def body(carry: Any, _: None) -> tuple[Any, None]:
            slopes = gradient(*carry)
            return jax.tree.map(lambda value, slope: value - 1e-9 * slope, carry, slopes), None

        return lax.scan(body, (x, kernel), None, length=2)[0]

    return {"forward": forward, "gradient": gradient, "gradient-in-scan-of-2": scanned}


def dcgan_step(
    conv: Callable[..., jax.Array],
    transpose: Callable[..., jax.Array],
    weights: Any,
    latents: jax.Array,
    real: jax.Array,
) -> Any:
    """One descent step of both players of a small DCGAN 32x32 without norms, with half R1 on the discriminator: every layer in its place."""

    def generate(g: list[jax.Array]) -> jax.Array:
        h = jax.nn.relu(transpose(latents, g[0], 1, 0))
        for kernel in g[1:-1]:
            h = jax.nn.relu(transpose(h, kernel, 2, 1))
        return jnp.tanh(transpose(h, g[-1], 2, 1))

    def judge(d: list[jax.Array], x: jax.Array) -> jax.Array:
        for kernel in d[:-1]:
            x = jax.nn.leaky_relu(conv(x, kernel, 2, 1), 0.2)
        return conv(x, d[-1], 1, 0)[:, 0, 0, 0]

    def discriminator_loss(d: list[jax.Array], fake: jax.Array) -> jax.Array:
        slopes = jax.grad(lambda x: jnp.sum(judge(d, x)))(real)
        loss = jnp.mean(jax.nn.softplus(judge(d, fake))) + jnp.mean(
            jax.nn.softplus(-judge(d, real))
        )
        return loss + 5 * jnp.mean(jnp.sum(slopes**2, (1, 2, 3)))

    g, d = weights
    fake = generate(g)
    d_slopes = jax.grad(discriminator_loss)(d, lax.stop_gradient(fake))
    g_slopes = jax.grad(lambda g: jnp.mean(jax.nn.softplus(-judge(d, generate(g)))))(g)
    return jax.tree.map(lambda value, slope: value - 1e-4 * slope, weights, (g_slopes, d_slopes))


def dcgan_inputs(batch: int = 32, width: int = 32) -> tuple[Any, jax.Array, jax.Array]:
    """Weights of both players, latents [batch, 1, 1, 64] and images [batch, 32, 32, 3]."""
    g_sizes = [(64, 4 * width), (4 * width, 2 * width), (2 * width, width), (width, 3)]
    d_sizes = [(3, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 1)]
    keys = iter(jax.random.split(jax.random.key(0), 10))
    weights = tuple(
        [jax.random.normal(next(keys), (4, 4, *pair)) * 0.02 for pair in sizes]
        for sizes in (g_sizes, d_sizes)
    )
    return (
        weights,
        jax.random.normal(next(keys), (batch, 1, 1, 64)),
        jnp.tanh(jax.random.normal(next(keys), (batch, 32, 32, 3))),
    )


def parted(split: Callable[[jax.Array], Sequence[jax.Array]], x: jax.Array) -> jax.Array:
    """Something whose gradient is that of a split, of which each part is used in another way."""
    return sum((jnp.sum(part**power) for power, part in enumerate(split(x), 2)), jnp.float32(0))


def channel_measurements(repeats: int, budget: float, only: str) -> Iterator[dict[str, Any]]:
    """Yield one record for arrays put beside each other, and one for the gradient of an array split into halves, for each size."""
    for name, (height, widths) in CHANNELS.items():
        if only not in name:
            continue
        parts = tuple(
            jax.random.normal(jax.random.key(i), (1, height, height, width))
            for i, width in enumerate(widths)
        )
        joining = {
            "lax": lambda *parts: jnp.concatenate(parts, -1),
            "jaxgan": lambda *parts: beside(parts),
        }
        splits: dict[str, Callable[..., Any]] = {
            "lax": lambda x: jnp.split(x, 2, -1),
            "jaxgan": lambda x: apart(x, [x.shape[-1] // 2] * 2),
        }
        yield {"name": name, "what": "beside", **race(joining, parts, repeats, budget)}
        gradients = {side: jax.grad(partial(parted, split)) for side, split in splits.items()}
        yield {
            "name": name,
            "what": "gradient-of-a-split",
            **race(gradients, (joining["lax"](*parts),), repeats, budget),
        }


def looked_up(vectors: jax.Array, x: jax.Array, kernel: jax.Array, numbers: jax.Array) -> jax.Array:
    """The 3x3 convolution of images `vectors[numbers]`, without a bias."""
    return conv2d_of_symbols(
        x, [(kernel, jnp.zeros(kernel.shape[-1]))], Symbols(numbers, vectors), 1, 1
    )[0]


def layout_measurements(repeats: int, budget: float, only: str) -> Iterator[dict[str, Any]]:
    """Yield one record for a 3x3 convolution of a layout, multiplied as one-hot planes or looked up, and one for its gradient in the kernel."""
    for name, (height, classes, outputs) in LAYOUTS.items():
        if only not in name:
            continue
        numbers = jax.random.randint(jax.random.key(0), (1, height, height), 0, classes)
        symbols = Symbols(numbers, jnp.eye(classes))
        operands = (
            symbols.vectors[numbers],
            jax.random.normal(jax.random.key(1), (3, 3, classes, outputs)) * 0.02,
            numbers,
        )
        forms: dict[str, Callable[..., Any]] = {
            "lax": lambda x, kernel, numbers: lax_conv(x, kernel, 1, 1),
            "jaxgan": partial(looked_up, symbols.vectors),
        }
        yield {"name": name, "what": "forward", **race(forms, operands, repeats, budget)}
        slopes = {
            side: jax.grad(
                lambda x, kernel, numbers, form=form: jnp.sum(jnp.sin(form(x, kernel, numbers))), 1
            )
            for side, form in forms.items()
        }
        yield {"name": name, "what": "kernel-gradient", **race(slopes, operands, repeats, budget)}


def measurements(repeats: int, budget: float, only: str) -> Iterator[dict[str, Any]]:
    """Yield one record per layer and form, then of channels and layouts, then the whole steps."""
    for name, (
        transposed,
        batch,
        height,
        inputs,
        outputs,
        kernel_size,
        stride,
        padding,
    ) in LAYERS.items():
        if only not in name:
            continue
        x = jax.random.normal(jax.random.key(0), (batch, height, height, inputs))
        kernel = (
            jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, inputs, outputs)) * 0.02
        )
        plain = layer_forms(lax_transpose if transposed else lax_conv, stride, padding)
        ours = layer_forms(conv_transpose2d if transposed else conv2d, stride, padding)
        for what in ours:
            yield {
                "name": name,
                "what": what,
                **race({"lax": plain[what], "jaxgan": ours[what]}, (x, kernel), repeats, budget),
            }
    yield from channel_measurements(repeats, budget, only)
    yield from layout_measurements(repeats, budget, only)
    if only not in "dcgan-32x32-step-batch-32":
        return
    weights, latents, real = dcgan_inputs()
    steps = {
        "lax": partial(dcgan_step, lax_conv, lax_transpose),
        "jaxgan": partial(dcgan_step, conv2d, conv_transpose2d),
    }
    in_scan = {
        name: partial(
            lambda step, w, z, x: lax.scan(lambda w, _: (step(w, z, x), None), w, None, length=2)[
                0
            ],
            step,
        )
        for name, step in steps.items()
    }
    yield {
        "name": "dcgan-32x32-step-batch-32",
        "what": "step-with-r1",
        **race(steps, (weights, latents, real), repeats, budget),
    }
    yield {
        "name": "dcgan-32x32-step-batch-32",
        "what": "step-with-r1-in-scan-of-2",
        **race(in_scan, (weights, latents, real), repeats, budget),
    }


def main() -> None:
    """Parse options, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="rounds per measurement")
    parser.add_argument(
        "--budget",
        type=float,
        default=6.0,
        help="seconds per measurement after which no new round begins",
    )
    parser.add_argument("--only", default="", help="measure the names that contain this")
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS, help="folder of the results files"
    )
    options = parser.parse_args()
    with one_sentence_errors():
        for found in measurements(options.repeats, options.budget, options.only):
            ratio = round(found["lax"]["min_ms"] / found["jaxgan"]["min_ms"], 2)
            line = record.append(
                "conv", {**found, "lax_over_jaxgan": ratio}, record.provenance(), options.out
            )
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
