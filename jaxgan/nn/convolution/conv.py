"""Two-dimensional convolutions, plain and transposed, that are fast on every backend and at every order of differentiation.

Why this is not just `lax.conv_general_dilated`: on CPU, XLA runs only one form of convolution fast (NHWC images, HWIO kernel). Inside the body of a scan, a
while loop or a cond, nothing rewrites the gradients of a convolution to that form, and they run 20 to 100 times slower; so do transposed convolutions at any
place, and convolutions with few output channels. On GPUs convolutions with few channels take up to 6 times longer than they need to.

How it works: a convolution is linear in the images and in the kernel, so with a third array `g` of the output's shape, sum(g * conv(x, kernel)) is trilinear.
Its gradients in g, x and kernel are the three operations below: `_forward`, `_input_gradient`, `_kernel_gradient`. The derivative of each is made of the other
two, so that derivatives of any order are these three again. A transposed convolution is `_input_gradient` called forwards. How to compute them is said in
files that are never differentiated: `cpu_*` of `.forms` and `.kernel_gradients` on CPU, where many channels meet in fewer products than a direct
convolution takes (`.winograd`), `gpu_*` of `.few_channels` on NVIDIA's GPUs, and plain convolutions, `lax_*` of `.lax_forms`, elsewhere.

Reverse mode works to any order; forward mode (`jax.jvp`, `jax.jacfwd`) does not, because the rules are `jax.custom_vjp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxgan.nn.channels import apart
from jaxgan.nn.convolution.few_channels import gpu_forward, gpu_input_gradient, gpu_kernel_gradient
from jaxgan.nn.convolution.forms import cpu_forward, cpu_input_gradient
from jaxgan.nn.convolution.geometry import Geometry, Pair, wide
from jaxgan.nn.convolution.kernel_gradients import cpu_kernel_gradient
from jaxgan.nn.convolution.lax_forms import lax_forward, lax_input_gradient, lax_kernel_gradient

Arrays = tuple[jax.Array, ...]
Layers = list[tuple[jax.Array, jax.Array]]
IntOrPair = int | Sequence[int]
IntOrPairs = int | Sequence[IntOrPair]
Operation = Callable[[Geometry, jax.Array, jax.Array], jax.Array]

SCOPE = "convolution"
"""What a profile calls all that belongs to a convolution or its gradients on CPU."""


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    strides: IntOrPair = (1, 1),
    padding: IntOrPairs = ((0, 0), (0, 0)),
) -> jax.Array:
    """Convolve x [B, H, W, I] with kernel [kh, kw, I, O] into [B, H', W', O], H' = (H + top + bottom - kh) // stride + 1.

    x and kernel have one floating dtype, which the result has too. The kernel is not flipped (cross-correlation), as in PyTorch and Flax; a PyTorch
    `Conv2d.weight` [O, I, kh, kw] becomes `weight.transpose(2, 3, 1, 0)`. padding: zeros at ((top, bottom), (left, right)), (rows, columns) or one number.
    ValueError where the shapes do not fit.
    """
    strides, pads = _check("conv2d", x, kernel, strides, padding)
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    output = _pair(
        [(n + sum(pad) - k) // s + 1 for n, pad, k, s in zip(size, pads, window, strides)]
    )
    if min(output) < 1:
        raise ValueError(
            f"conv2d: a kernel of {window} does not fit images of {size} padded by {pads}; use larger images or more padding"
        )
    geometry = Geometry(size, output, window, strides, pads)
    return (lax_forward if _explicit(x, kernel) else _forward)(geometry, *_same_axes(x, kernel))


def conv2d_beside(
    x: jax.Array,
    layers: Sequence[tuple[jax.Array, jax.Array]],
    strides: IntOrPair = (1, 1),
    padding: IntOrPairs = 0,
) -> list[jax.Array]:
    """`conv2d(x, kernel, strides, padding) + bias` for each of `layers`, as one convolution, which a CPU runs faster than several.

    layers: kernels [kh, kw, I, O] of one height and width, each with its bias [O].
    """
    kernels, biases = zip(*layers, strict=True)
    made = (
        conv2d(x, jnp.concatenate(kernels, -1), strides, padding)
        + jnp.concatenate(biases)[None, None, None]
    )
    return apart(made, [len(bias) for bias in biases])


class Symbols(NamedTuple):
    """Images [B, H, W, C] with only K different pixels, as layouts of classes are: `vectors[numbers]`."""

    numbers: jax.Array
    """int32 [B, H, W]."""
    vectors: jax.Array
    """[K, C]."""


def conv2d_of_symbols(
    x: jax.Array,
    layers: Sequence[tuple[jax.Array, jax.Array]],
    symbols: Symbols,
    strides: IntOrPair = (1, 1),
    padding: IntOrPairs = 0,
) -> list[jax.Array]:
    """`conv2d_beside` of images x [B, H, W, I] that are those of `symbols`: the same to rounding.

    On CPU what a tap makes of each vector is computed once and then looked up: with 33 planes of 256x256 pixels and 96 outputs, 7 times faster. Each reader of
    a result looks up again, unless `optimization_barrier` prevents it. Elsewhere, and for gradients, which are those of x and the layers and none of the
    symbols, it is `conv2d_beside`. That x is what the symbols say is not checked. ValueError where the shapes do not fit.
    """
    steps, pads = zip(
        *(_check("conv2d_of_symbols", x, kernel, strides, padding) for kernel, _ in layers),
        strict=True,
    )
    if symbols.numbers.shape != x.shape[:3] or symbols.vectors.shape[1:] != x.shape[3:]:
        sizes = f"numbers {symbols.numbers.shape} and vectors {symbols.vectors.shape}"
        raise ValueError(
            f"conv2d_of_symbols: {sizes} are not those of images {x.shape}; [B, H, W] and [K, I] are needed"
        )
    if len({kernel.shape[:2] for kernel, _ in layers}) > 1:
        raise ValueError(
            f"conv2d_of_symbols: kernels of one height and width are needed, not {', '.join(str(kernel.shape[:2]) for kernel, _ in layers)}"
        )
    if _explicit(x, *(kernel for kernel, _ in layers)):
        return conv2d_beside(x, layers, strides, padding)
    arrays, tree = jax.tree.flatten((x, list(layers), *symbols))
    return _of_symbols(steps[0], pads[0], *jax.tree.unflatten(tree, _same_axes(*arrays)))


def conv_transpose2d(
    x: jax.Array,
    kernel: jax.Array,
    strides: IntOrPair = (1, 1),
    padding: IntOrPairs = ((0, 0), (0, 0)),
    output_padding: IntOrPair = 0,
) -> jax.Array:
    """Transposed convolution of x [B, H, W, I] with kernel [kh, kw, I, O] into [B, H', W', O], H' = (H - 1) stride - top - bottom + kh + output_padding.

    PyTorch's semantics: x[i] * kernel[u] is added to y[i * stride + u - top]. So a PyTorch `ConvTranspose2d.weight` [I, O, kh, kw] becomes
    `weight.transpose(2, 3, 0, 1)`, with no flip. (`lax.conv_transpose` with `transpose_kernel=False` wants it flipped: `kernel[::-1, ::-1]`.)
    padding crops the result; output_padding, smaller than the stride, adds rows and columns at the bottom and right. ValueError where the shapes do not fit.
    """
    strides, pads = _check("conv_transpose2d", x, kernel, strides, padding)
    extra = _pair(output_padding)
    if min(extra) < 0 or any(e >= s for e, s in zip(extra, strides)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be at least 0 and smaller than the strides {strides}"
        )
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    output = _pair(
        [
            (n - 1) * s - sum(pad) + k + e
            for n, s, pad, k, e in zip(size, strides, pads, window, extra)
        ]
    )
    if min(output) < 1:
        raise ValueError(
            f"conv_transpose2d: padding {pads} crops the whole result of images {size} and a kernel of {window}; use less padding"
        )
    geometry = Geometry(output, size, window, strides, pads, turned=True)
    return (lax_input_gradient if _explicit(x, kernel) else _input_gradient)(
        geometry, *_same_axes(x, kernel)
    )


def _pair(value: IntOrPair) -> Pair:
    first, second = value if isinstance(value, Sequence) else (value, value)
    return (int(first), int(second))


def _check(
    name: str, x: jax.Array, kernel: jax.Array, strides: IntOrPair, padding: IntOrPairs
) -> tuple[Pair, tuple[Pair, Pair]]:
    """Return strides and padding as pairs, or say what does not fit."""
    steps = _pair(strides)
    rows, columns = padding if isinstance(padding, Sequence) else (padding, padding)
    pads = (_pair(rows), _pair(columns))
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            f"{name}: images [B, H, W, I] and a kernel [kh, kw, I, O] are needed, not shapes {x.shape} and {kernel.shape}"
        )
    if x.dtype != kernel.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{name}: images and kernel need one floating dtype, not {x.dtype} and {kernel.dtype}; cast one of them"
        )
    if min(steps) < 1 or min(pads[0] + pads[1]) < 0:
        raise ValueError(
            f"{name}: strides {steps} must be at least 1 and padding {pads} at least 0"
        )
    return steps, pads


def _explicit(*arrays: jax.Array) -> bool:
    """Whether shardings are part of the types (a mesh with Explicit axes): reshapes below would need theirs spelled out, so that plain lax is used."""
    return any(
        jax.sharding.AxisType.Explicit in jax.typeof(array).sharding.mesh.axis_types
        for array in arrays
    )


def _same_axes(*arrays: jax.Array) -> Arrays:
    """Make arrays vary over the same axes of `jax.shard_map(check_vma=True)`; nothing to do anywhere else.

    It is done before the custom rule, so that the rule's cotangents have the types of its arguments, and the transpose of this cast (a psum) sums the gradient
    of a replicated kernel over the devices, as for any other operation.
    """
    axes = [jax.typeof(array).manual_axis_type.varying for array in arrays]
    union = frozenset().union(*axes)
    return tuple(
        lax.pcast(array, tuple(sorted(union - have)), to="varying") if union - have else array
        for array, have in zip(arrays, axes)
    )


class _Forms(NamedTuple):
    """One operation as it is computed on a CPU, on NVIDIA's GPUs, and elsewhere; and whether its result has the batch first."""

    cpu: Operation
    gpu: Operation
    plain: Operation
    batch_is_first: bool


FORWARD = _Forms(cpu_forward, gpu_forward, lax_forward, True)
INPUT_GRADIENT = _Forms(cpu_input_gradient, gpu_input_gradient, lax_input_gradient, True)
KERNEL_GRADIENT = _Forms(cpu_kernel_gradient, gpu_kernel_gradient, lax_kernel_gradient, False)


# The three operations. Each bwd rule is written with the other two. Kernels are [kh, kw, I, O], or [kh, kw, O, I] where the geometry says `turned`.


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution: x [B, H, W, I], kernel [kh, kw, I, O] -> [B, H', W', O]."""
    return _by_platform(FORWARD, geometry, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Its gradient in the images: g [B, H', W', O], kernel [kh, kw, I, O] -> [B, H, W, I]."""
    return _by_platform(INPUT_GRADIENT, geometry, g, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Its gradient in the kernel: x [B, H, W, I], g [B, H', W', O] -> [kh, kw, I, O]."""
    return _by_platform(KERNEL_GRADIENT, geometry, x, g)


def _forward_bwd(geometry: Geometry, kept: Arrays, g: jax.Array) -> Arrays:
    x, kernel, g = _same_axes(*kept, g)
    return _input_gradient(geometry, g, kernel), _kernel_gradient(geometry, x, g)


def _input_gradient_bwd(geometry: Geometry, kept: Arrays, x: jax.Array) -> Arrays:
    g, kernel, x = _same_axes(*kept, x)
    return _forward(geometry, x, kernel), _kernel_gradient(geometry, x, g)


def _kernel_gradient_bwd(geometry: Geometry, kept: Arrays, kernel: jax.Array) -> Arrays:
    x, g, kernel = _same_axes(*kept, kernel)
    return _input_gradient(geometry, g, kernel), _forward(geometry, x, kernel)


_forward.defvjp(
    lambda geometry, x, kernel: (_forward(geometry, x, kernel), (x, kernel)), _forward_bwd
)
_input_gradient.defvjp(
    lambda geometry, g, kernel: (_input_gradient(geometry, g, kernel), (g, kernel)),
    _input_gradient_bwd,
)
_kernel_gradient.defvjp(
    lambda geometry, x, g: (_kernel_gradient(geometry, x, g), (x, g)), _kernel_gradient_bwd
)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _of_symbols(
    strides: Pair,
    pads: tuple[Pair, Pair],
    x: jax.Array,
    layers: Layers,
    numbers: jax.Array,
    vectors: jax.Array,
) -> list[jax.Array]:
    def multiplied(x: jax.Array, layers: Layers, *symbols: jax.Array) -> list[jax.Array]:
        return conv2d_beside(x, layers, strides, pads)

    def looked_up(x: jax.Array, layers: Layers, *symbols: jax.Array) -> list[jax.Array]:
        return [_looked_up(strides, pads, *layer, *symbols) for layer in layers]

    made: list[jax.Array] = lax.platform_dependent(
        x, layers, numbers, vectors, cpu=looked_up, default=multiplied
    )
    return made


def _of_symbols_bwd(
    strides: Pair, pads: tuple[Pair, Pair], kept: tuple[jax.Array, Layers], g: list[jax.Array]
) -> tuple[Any, ...]:
    return (
        *jax.vjp(lambda x, layers: conv2d_beside(x, layers, strides, pads), *kept)[1](g),
        None,
        None,
    )


_of_symbols.defvjp(lambda *given: (_of_symbols(*given), given[2:4]), _of_symbols_bwd)


# Where and under what mappings they are computed. Nothing below is ever differentiated.


def _looked_up(
    strides: Pair,
    pads: tuple[Pair, Pair],
    kernel: jax.Array,
    bias: jax.Array,
    numbers: jax.Array,
    vectors: jax.Array,
) -> jax.Array:
    """The bias, and the sum over taps of what each makes of the vector of the pixel that it meets; of padding, the row of zeros at the end, nothing."""
    with jax.named_scope(SCOPE):
        dtype = wide(kernel.dtype)
        table = jnp.einsum("kc,uvco->uvko", vectors.astype(dtype), kernel.astype(dtype))
        table, outside = jnp.pad(table, ((0, 0), (0, 0), (0, 1), (0, 0))), len(vectors)
        numbers = jnp.pad(numbers, ((0, 0), *pads), constant_values=outside)
        (kh, kw), (height, width), (sh, sw) = kernel.shape[:2], numbers.shape[1:], strides
        seen = {
            (u, v): numbers[:, u : height - kh + u + 1 : sh, v : width - kw + v + 1 : sw]
            for u in range(kh)
            for v in range(kw)
        }
        return sum(
            (table[tap].at[what].get(mode="clip") for tap, what in seen.items()),
            bias.astype(dtype)[None, None, None],
        ).astype(kernel.dtype)


def _by_platform(forms: _Forms, geometry: Geometry, a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the operation in its form for the platform, chosen at lowering.

    `lax.platform_dependent` and not `jax.default_backend()`: a function may be traced for a device other than the default one, or exported for several
    platforms at once. Compiled for one platform the choice is a constant, which XLA removes; inside the custom rules, it is never differentiated.
    """
    # A CPU has no fast 16-bit arithmetic: sums in float32 cost nothing more and round once.
    dtype = wide(a.dtype)

    def on_cpu(a: jax.Array, b: jax.Array) -> jax.Array:
        with jax.named_scope(SCOPE):
            return _one_by_one(partial(forms.cpu, geometry), forms.batch_is_first)(
                a.astype(dtype), b.astype(dtype)
            ).astype(a.dtype)

    return lax.platform_dependent(
        a,
        b,
        cpu=on_cpu,
        cuda=partial(forms.gpu, geometry),
        default=partial(forms.plain, geometry),
    )


def _one_by_one(
    function: Callable[[jax.Array, jax.Array], jax.Array], batch_is_first: bool
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Give function(a, b) a `vmap` rule that is fast on CPU.

    Where only the images are mapped, they become one larger batch. Where kernels differ (`vmap` over seeds), one after another: the default rule would make a
    grouped convolution, ten times slower.
    """

    @custom_vmap
    def mapped(a: jax.Array, b: jax.Array) -> jax.Array:
        return function(a, b)

    def rule(
        axis_size: int, in_batched: Sequence[bool], a: jax.Array, b: jax.Array
    ) -> tuple[jax.Array, bool]:
        if batch_is_first and not in_batched[1]:
            out = mapped(a.reshape(axis_size * a.shape[1], *a.shape[2:]), b)
            return out.reshape(*a.shape[:2], *out.shape[1:]), True
        if all(in_batched):
            return lax.map(lambda pair: mapped(*pair), (a, b)), True
        if in_batched[0]:
            return lax.map(lambda a: mapped(a, b), a), True
        return lax.map(lambda b: mapped(a, b), b), True

    mapped.def_vmap(rule)
    return mapped
