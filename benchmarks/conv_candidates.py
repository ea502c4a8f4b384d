"""Every form of computing the convolutions of a step that was tried, timed: `python -m benchmarks.conv_candidates`.

    python -m benchmarks.conv_candidates                          of the games of benchmarks.against_pytorch, at sizes for a CPU
    python -m benchmarks.conv_candidates --families dcgan --batch 32
    python -m benchmarks.conv_candidates --families cyclegan --size 256 --batch 16 --dtype bfloat16 --least 0.03    # on a GPU

A step is traced for its convolutions and their gradients, of any order; each kind is timed alone, in every form that can compute it, in turns, and the fastest
call of each form counts; on an accelerator the mean of `CALLS` that are waited for together. Those that make up less than `--least` of the step's operations
are left out. Appends to benchmarks/results/conv_candidates.jsonl.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import cases, flops, record, timing
from benchmarks.against_pytorch import chosen, config_of
from benchmarks.step_profile import FAMILIES, case_options
from experiments.support.common import one_sentence_errors
from experiments.support.memory import keep_freed
from jaxgan.errors import require
from jaxgan.nn.convolution import conv, few_channels, kernel_gradients, lax_forms, winograd
from jaxgan.nn.convolution import forms as conv_forms
from jaxgan.nn.convolution.geometry import Geometry, pad, turn

NAME = "conv_candidates"
Form = Callable[[Geometry, jax.Array, jax.Array], jax.Array]
LARGEST = 1 << 30
"""Bytes that a form may lay out."""
CALLS = 20
"""On an accelerator, where starting one call takes as long as a small convolution."""


class Operation(NamedTuple):
    """kind: of `FORMS`. shapes: of its two operands, in the order of `jaxgan.nn.convolution.lax_forms`."""

    kind: str
    geometry: Geometry
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def channels(self) -> tuple[int, int]:
        """Of the images that the convolution (of a transposed one, the mirrored convolution) sees, and of those it makes."""
        first, second = self.shapes
        inputs, outputs = (
            (first[3], second[3])
            if self.kind == "kernel gradient"
            else second[2:][:: -1 if self.geometry.turned else 1]
        )
        return inputs, outputs

    @property
    def flops(self) -> int:
        """Padding counted: a multiplication and an addition are two."""
        return (
            2
            * self.shapes[0][0]
            * prod(self.geometry.output_size)
            * prod(self.geometry.kernel_size)
            * prod(self.channels)
        )

    @property
    def what(self) -> str:
        """In words: kernel and stride, and the images that the convolution (of a transposed one, the mirrored convolution) sees and makes."""
        inputs, outputs = self.channels
        (height, width), (rows, columns), stride = (
            self.geometry.input_size,
            self.geometry.output_size,
            self.geometry.strides[0],
        )
        size = "x".join(map(str, self.geometry.kernel_size)) + (f"/{stride}" if stride > 1 else "")
        return (
            f"{size} {self.shapes[0][0]}x{height}x{width}x{inputs} > {rows}x{columns}x{outputs}"
            + " (transposed)" * self.geometry.turned
        )


# --------------------------------------------------------------------------------------------------------------------- forms


def _folded(geometry: Geometry, x: jax.Array) -> tuple[Geometry, jax.Array]:
    """Squares of stride x stride pixels as channels: what is left has stride 1. Rows and columns are padded to whole squares."""
    (sh, sw), pads = geometry.strides, geometry.trimmed_padding()
    kernel_size = (-(-geometry.kernel_size[0] // sh), -(-geometry.kernel_size[1] // sw))
    size = [m + k - 1 for m, k in zip(geometry.output_size, kernel_size, strict=True)]
    pads = [
        (low, n * s - side - low)
        for (low, _), n, s, side in zip(pads, size, (sh, sw), x.shape[1:3], strict=True)
    ]
    x = (
        pad(x, pads)
        .reshape(x.shape[0], size[0], sh, size[1], sw, x.shape[3])
        .transpose(0, 1, 3, 2, 4, 5)
    )
    folded = Geometry(
        (size[0], size[1]), geometry.output_size, kernel_size, (1, 1), ((0, 0), (0, 0))
    )
    return folded, x.reshape(x.shape[0], *size, -1)


def _folded_kernel(geometry: Geometry, folded: Geometry, kernel: jax.Array) -> jax.Array:
    (sh, sw), (kh, kw) = geometry.strides, folded.kernel_size
    kernel = turn(geometry, kernel)
    kernel = jnp.pad(
        kernel, ((0, kh * sh - kernel.shape[0]), (0, kw * sw - kernel.shape[1]), (0, 0), (0, 0))
    )
    return (
        kernel.reshape(kh, sh, kw, sw, *kernel.shape[2:])
        .transpose(0, 2, 1, 3, 4, 5)
        .reshape(kh, kw, -1, kernel.shape[3])
    )


def _forward_folded(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    folded, x = _folded(geometry, x)
    return lax_forms.lax_forward(folded, x, _folded_kernel(geometry, folded, kernel))


def _kernel_gradient_folded(form: Form) -> Form:
    def gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
        inputs, (sh, sw) = x.shape[3], geometry.strides
        folded, x = _folded(geometry, x)
        (kh, kw), (rows, columns) = folded.kernel_size, geometry.kernel_size
        slopes = form(folded, x, g).reshape(kh, kw, sh, sw, inputs, -1).transpose(0, 2, 1, 3, 4, 5)
        return turn(geometry, slopes.reshape(kh * sh, kw * sw, inputs, -1)[:rows, :columns])

    return gradient


def _spread(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A gradient of images as a convolution with stride 1, unpadded: g with zeros between and around, and the kernel for it."""
    kernel = turn(geometry, kernel)[::-1, ::-1].swapaxes(2, 3)
    return pad(g, geometry.spread_padding(), geometry.strides), kernel


def _input_gradient_spread(form: Callable[[jax.Array, jax.Array], jax.Array]) -> Form:
    return lambda geometry, g, kernel: form(*_spread(geometry, g, kernel))


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _dense(form: Callable[[jax.Array, jax.Array], jax.Array]) -> Form:
    return lambda geometry, x, kernel: form(pad(x, geometry.padding), turn(geometry, kernel))


def _dense_gathered(x: jax.Array, kernel: jax.Array) -> jax.Array:
    size, window = (x.shape[1], x.shape[2]), (kernel.shape[0], kernel.shape[1])
    output = (size[0] - window[0] + 1, size[1] - window[1] + 1)
    return conv_forms._gathered(Geometry(size, output, window, (1, 1), ((0, 0), (0, 0))), x, kernel)


FORMS: dict[str, dict[str, Form]] = {
    "forward": {
        "jaxgan": conv_forms.cpu_forward,
        "lax": lax_forms.lax_forward,
        "columns": few_channels.gpu_forward,
        "taps": conv_forms._forward_taps,
        "gathered": conv_forms._gathered,
        "few outputs": _dense(conv_forms._few_outputs),
        "column": _dense(conv_forms._with_column),
        "folded": _forward_folded,
        "winograd": winograd.winograd_forward,
    },
    "input gradient": {
        "jaxgan": conv_forms.cpu_input_gradient,
        "lax": lax_forms.lax_input_gradient,
        "columns": few_channels.gpu_input_gradient,
        "taps": conv_forms._input_gradient_taps,
        "spread": _input_gradient_spread(_plain),
        "gathered": _input_gradient_spread(_dense_gathered),
        "few outputs": _input_gradient_spread(conv_forms._few_outputs),
        "column": _input_gradient_spread(conv_forms._with_column),
        "phases": conv_forms._phases_together,
        "phases apart": conv_forms._phases_apart,
        "winograd": winograd.winograd_input_gradient,
    },
    "kernel gradient": {
        "jaxgan": kernel_gradients.cpu_kernel_gradient,
        "lax": lax_forms.lax_kernel_gradient,
        "columns": few_channels.gpu_kernel_gradient,
        "convolution": kernel_gradients._kernel_gradient_convolution,
        "taps": kernel_gradients._kernel_gradient_taps,
        "crossed": kernel_gradients._kernel_gradient_crossed,
        "gathered": kernel_gradients._kernel_gradient_gathered,
        "few outputs": kernel_gradients._kernel_gradient_few,
        "folded taps": _kernel_gradient_folded(kernel_gradients._kernel_gradient_taps),
        "folded convolution": _kernel_gradient_folded(
            kernel_gradients._kernel_gradient_convolution
        ),
        "winograd": winograd.winograd_kernel_gradient,
    },
}
"""jaxgan: what `jaxgan.nn.convolution` chooses here. columns: the kernel's columns as channels, where these are few. taps: a matrix product for each tap.
gathered: one product of the images as all taps see them (im2col). few outputs: one product for all taps, whose results are shifted and added. crossed: rows of
the images and columns of the gradient beside each other. column: with a column of padding, cut off again. folded: squares of stride x stride pixels become
channels, so that the stride is 1. spread: zeros between the pixels. phases: positions modulo the stride, in one convolution or apart."""


def forms_for(operation: Operation) -> dict[str, Form]:
    """The forms that can compute an operation: some are for strides, some for none, some would lay out too much."""
    geometry, strided = operation.geometry, operation.geometry.strides != (1, 1)
    folds = strided and all(low >= 0 and high >= 0 for low, high in geometry.trimmed_padding())
    laid_out = 4 * operation.shapes[0][0] * prod(geometry.kernel_size) * prod(geometry.output_size)
    channels = max(operation.shapes[1][2:])
    left_out = set() if folds else {"folded", "folded taps", "folded convolution"}
    if strided and operation.kind != "input gradient":  # which is made dense first
        left_out |= {"few outputs", "column"}
    if not strided or any(
        k < s for k, s in zip(geometry.kernel_size, geometry.strides, strict=True)
    ):
        left_out |= {"phases", "phases apart"}
    if not winograd.fits(geometry):
        left_out.add("winograd")
    if not few_channels.fits(geometry, min(operation.channels), max(operation.channels)):
        left_out.add("columns")
    if geometry.kernel_size[1] % geometry.strides[1]:
        left_out.add("crossed")
    if laid_out * channels > LARGEST:
        left_out |= {"taps", "gathered", "folded taps"}
    forms = {name: form for name, form in FORMS[operation.kind].items() if name not in left_out}
    if jax.default_backend() != "cpu":  # where jaxgan leaves to XLA what is not for these
        forms["for a CPU"], forms["jaxgan"] = (
            forms["jaxgan"],
            forms.pop("columns" if "columns" in forms else "lax"),
        )
    return forms


# ----------------------------------------------------------------------------------------------------------------- of a step


def operations_of(family: Any, config: Any, batch_size: int) -> Counter[Operation]:
    """Every convolution of a step and every gradient of one, and how often the step has it, with all of its lazy penalties."""
    marks: dict[str, tuple[str, Geometry]] = {}
    kinds = {forms["jaxgan"]: kind for kind, forms in FORMS.items()}

    def marked(forms: Any, geometry: Geometry, a: jax.Array, b: jax.Array) -> jax.Array:
        def operation(a: jax.Array, b: jax.Array) -> jax.Array:
            return forms.plain(geometry, a, b)

        operation.__name__ = f"operation_{len(marks)}"
        marks[operation.__name__] = (kinds[forms.cpu], geometry)
        return jax.jit(operation)(a, b)

    with mock.patch.object(conv, "_by_platform", marked):
        inputs = cases.arguments(cases.Case("", family, config, batch_size, 1))
        jaxpr = flops.trace(
            lambda state, batch, key: family.train_step(config, state, batch, key), *inputs
        )
    return _marked_in(jaxpr, marks)


def _marked_in(jaxpr: Any, marks: Mapping[str, tuple[str, Geometry]]) -> Counter[Operation]:
    found: Counter[Operation] = Counter()
    for equation in jaxpr.eqns:
        if equation.params.get("name") in marks:
            first, second = (variable.aval.shape for variable in equation.invars)
            if len(first) == 5 and len(second) == 4:  # images mapped by vmap are one larger batch
                first = (first[0] * first[1], *first[2:])
            if len(first) == len(second) == 4:
                found[Operation(*marks[equation.params["name"]], (first, second))] += 1
            continue
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        inner = (
            _branches(equation)
            if equation.primitive.name == "cond"
            else flops._inner(equation.params)
        )
        for one in inner:
            found += Counter(
                {operation: times * count for operation, count in _marked_in(one, marks).items()}
            )
    return found


def _branches(equation: Any) -> list[Any]:
    """All of them, or where the platform decides, as for layouts, which a CPU looks up, this platform's."""
    platforms = equation.params.get("branches_platforms") or [None]
    chosen = [
        branch
        for branch, names in zip(equation.params["branches"], platforms, strict=False)
        if names and jax.default_backend() in names
    ]
    return [branch.jaxpr for branch in (chosen or equation.params["branches"])]


def compiled(operation: Operation, dtype: str) -> dict[str, Callable[..., jax.Array]]:
    """The forms of an operation as programs, compiled beside each other."""
    operands = [jax.ShapeDtypeStruct(shape, dtype) for shape in operation.shapes]
    forms = forms_for(operation)
    with ThreadPoolExecutor() as pool:
        programs = [
            pool.submit(jax.jit(partial(form, operation.geometry)).lower(*operands).compile)
            for form in forms.values()
        ]
        return {name: program.result() for name, program in zip(forms, programs, strict=True)}


def measure(
    operation: Operation, count: int, repetitions: int, dtype: str = "float32"
) -> dict[str, Any]:
    """What the results file holds of an operation: milliseconds by form, and the rate of jaxgan's."""
    first, second = (
        jax.random.normal(jax.random.key(i), shape, dtype)
        for i, shape in enumerate(operation.shapes)
    )
    calls = 1 if jax.default_backend() == "cpu" else CALLS

    def several(program: Callable[..., jax.Array]) -> list[jax.Array]:
        return [program(first, second) for _ in range(calls)][-1:]

    programs = compiled(operation, dtype)
    seconds_of = timing.interleave(
        {name: partial(several, program) for name, program in programs.items()},
        repetitions,
        warm_up=2,
    )
    times = {name: [seconds / calls for seconds in own] for name, own in seconds_of.items()}
    least = {name: min(own) for name, own in times.items()}
    others = {
        name: round(1e3 * seconds, 3)
        for name, seconds in sorted(least.items(), key=lambda pair: pair[1])
        if name != "jaxgan"
    }
    line: dict[str, Any] = {
        "operation": operation.kind,
        "what": operation.what,
        "count": count,
        "flops": operation.flops,
        "ms": 1e3 * least["jaxgan"],
    }
    line |= {
        "flops_per_s": operation.flops / least["jaxgan"],
        "others_ms": others,
        "best_other": min(others.values()) / (1e3 * least["jaxgan"]),
    }
    return line


def row(line: Mapping[str, Any]) -> str:
    """One line on screen."""
    others = ", ".join(f"{name} {ms:.2f}" for name, ms in list(line["others_ms"].items())[:4])
    rate = line["flops_per_s"] / 1e9
    return f"{line['count']:>4} x {line['ms']:>8.2f} ms {rate:>5.0f} GFLOP/s {line['best_other']:>5.2f}  {line['operation']:<16}{line['what']:<48} {others}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse options, measure, print, append to the results."""
    parser = case_options(__doc__, 7)
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of images and kernels"
    )
    parser.add_argument(
        "--least",
        type=float,
        default=0.01,
        help="share of the operations of a step's convolutions from which on a kind is timed",
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        cases_to_time = chosen(options)
        require(options.repetitions > 0, "--repetitions must be above 0")
        keep_freed()
        for case in cases_to_time:
            config = config_of(case.family, case.size, options.dtype)
            found = operations_of(FAMILIES[case.family], config, case.batch)
            total = sum(count * operation.flops for operation, count in found.items())
            print(
                f"{case.name}: count, jaxgan's form, fastest other / jaxgan, others in ms",
                flush=True,
            )
            for operation, count in sorted(
                found.items(), key=lambda pair: -pair[1] * pair[0].flops
            ):
                if count * operation.flops >= options.least * total:
                    line = {
                        "name": case.name,
                        **measure(operation, count, options.repetitions, options.dtype),
                        "share": count * operation.flops / total,
                    }
                    record.append(
                        NAME, line, record.provenance(config, batch=case.batch), options.out
                    )
                    print(row(line), flush=True)


if __name__ == "__main__":
    main()
