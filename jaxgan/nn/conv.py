"""Two-dimensional convolutions, plain and transposed, that are fast on every backend and at every order of differentiation.

Why this is not just `lax.conv_general_dilated`: on CPU, XLA runs only one form of convolution fast (NHWC images, HWIO kernel). Inside the body of a scan, a
while loop or a cond, nothing rewrites the gradients of a convolution to that form, and they run 20 to 100 times slower; so do transposed convolutions at any
place, and convolutions with few output channels.

How it works: a convolution is linear in the images and in the kernel, so with a third array `g` of the output's shape, sum(g * conv(x, kernel)) is trilinear.
Its gradients in g, x and kernel are the three operations below: `_forward`, `_input_gradient`, `_kernel_gradient`. The derivative of each is made of the other
two, so that derivatives of any order are these three again. A transposed convolution is `_input_gradient` called forwards. Only the innermost functions, which
are never differentiated, say how to compute: `_cpu_*` on CPU, and plain `lax` convolutions, as `lax` itself would differentiate them, elsewhere.

Reverse mode works to any order; forward mode (`jax.jvp`, `jax.jacfwd`) does not, because the rules are `jax.custom_vjp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

Pair = tuple[int, int]
Arrays = tuple[jax.Array, ...]
IntOrPair = int | Sequence[int]
IntOrPairs = int | Sequence[IntOrPair]
Operation = Callable[["_Geometry", jax.Array, jax.Array], jax.Array]

_CANONICAL = ("NHWC", "HWIO", "NHWC")


class _Geometry(NamedTuple):
    """The static side of one (mirrored) convolution: sizes of its input [H, W], its output and its kernel."""

    input_size: Pair
    output_size: Pair
    kernel_size: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    def spread_padding(self) -> list[Pair]:
        """Padding around g, spread out by the strides, for which a convolution with the flipped kernel has the input's size. Can be negative."""
        return [(k - 1 - low, n + low - (m - 1) * s - 1) for n, m, k, s, (low, _) in zip(*self)]

    def trimmed_padding(self) -> list[Pair]:
        """Padding around x without the rows that no output reads, so that strides divide the rest. Can be negative."""
        return [(low, k + (m - 1) * s - n - low) for n, m, k, s, (low, _) in zip(*self)]


def conv2d(x: jax.Array, kernel: jax.Array, strides: IntOrPair = (1, 1), padding: IntOrPairs = ((0, 0), (0, 0))) -> jax.Array:
    """Convolve x [B, H, W, I] with kernel [kh, kw, I, O] into [B, H', W', O], H' = (H + top + bottom - kh) // stride + 1.

    x and kernel have one floating dtype, which the result has too. The kernel is not flipped (cross-correlation), as in PyTorch and Flax; a PyTorch
    `Conv2d.weight` [O, I, kh, kw] becomes `weight.transpose(2, 3, 1, 0)`. padding: zeros at ((top, bottom), (left, right)), (rows, columns) or one number.
    ValueError where the shapes do not fit.
    """
    strides, pads = _check("conv2d", x, kernel, strides, padding)
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    output = _pair([(n + sum(pad) - k) // s + 1 for n, pad, k, s in zip(size, pads, window, strides)])
    if min(output) < 1:
        raise ValueError(f"conv2d: a kernel of {window} does not fit images of {size} padded by {pads}; use larger images or more padding")
    geometry = _Geometry(size, output, window, strides, pads)
    return (_lax_forward if _explicit(x, kernel) else _forward)(geometry, *_same_axes(x, kernel))


def conv_transpose2d(
    x: jax.Array, kernel: jax.Array, strides: IntOrPair = (1, 1), padding: IntOrPairs = ((0, 0), (0, 0)), output_padding: IntOrPair = 0
) -> jax.Array:
    """Transposed convolution of x [B, H, W, I] with kernel [kh, kw, I, O] into [B, H', W', O], H' = (H - 1) stride - top - bottom + kh + output_padding.

    PyTorch's semantics: x[i] * kernel[u] is added to y[i * stride + u - top]. So a PyTorch `ConvTranspose2d.weight` [I, O, kh, kw] becomes
    `weight.transpose(2, 3, 0, 1)`, with no flip. (`lax.conv_transpose` with `transpose_kernel=False` wants it flipped: `kernel[::-1, ::-1]`.)
    padding crops the result; output_padding, smaller than the stride, adds rows and columns at the bottom and right. ValueError where the shapes do not fit.
    """
    strides, pads = _check("conv_transpose2d", x, kernel, strides, padding)
    extra = _pair(output_padding)
    if min(extra) < 0 or any(e >= s for e, s in zip(extra, strides)):
        raise ValueError(f"conv_transpose2d: output_padding {extra} must be at least 0 and smaller than the strides {strides}")
    size, window = _pair(x.shape[1:3]), _pair(kernel.shape[:2])
    output = _pair([(n - 1) * s - sum(pad) + k + e for n, s, pad, k, e in zip(size, strides, pads, window, extra)])
    if min(output) < 1:
        raise ValueError(f"conv_transpose2d: padding {pads} crops the whole result of images {size} and a kernel of {window}; use less padding")
    geometry = _Geometry(output, size, window, strides, pads)
    return (_lax_input_gradient if _explicit(x, kernel) else _input_gradient)(geometry, *_same_axes(x, kernel.swapaxes(2, 3)))


def _pair(value: IntOrPair) -> Pair:
    first, second = value if isinstance(value, Sequence) else (value, value)
    return (int(first), int(second))


def _check(name: str, x: jax.Array, kernel: jax.Array, strides: IntOrPair, padding: IntOrPairs) -> tuple[Pair, tuple[Pair, Pair]]:
    """Return strides and padding as pairs, or say what does not fit."""
    steps = _pair(strides)
    rows, columns = padding if isinstance(padding, Sequence) else (padding, padding)
    pads = (_pair(rows), _pair(columns))
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"{name}: images [B, H, W, I] and a kernel [kh, kw, I, O] are needed, not shapes {x.shape} and {kernel.shape}")
    if x.dtype != kernel.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}: images and kernel need one floating dtype, not {x.dtype} and {kernel.dtype}; cast one of them")
    if min(steps) < 1 or min(pads[0] + pads[1]) < 0:
        raise ValueError(f"{name}: strides {steps} must be at least 1 and padding {pads} at least 0")
    return steps, pads


def _explicit(*arrays: jax.Array) -> bool:
    """Whether shardings are part of the types (a mesh with Explicit axes): reshapes below would need theirs spelled out, so that plain lax is used."""
    return any(jax.sharding.AxisType.Explicit in jax.typeof(array).sharding.mesh.axis_types for array in arrays)


def _same_axes(*arrays: jax.Array) -> Arrays:
    """Make arrays vary over the same axes of `jax.shard_map(check_vma=True)`; nothing to do anywhere else.

    It is done before the custom rule, so that the rule's cotangents have the types of its arguments, and the transpose of this cast (a psum) sums the gradient
    of a replicated kernel over the devices, as for any other operation.
    """
    axes = [jax.typeof(array).manual_axis_type.varying for array in arrays]
    union = frozenset().union(*axes)
    return tuple(lax.pcast(array, tuple(sorted(union - have)), to="varying") if union - have else array for array, have in zip(arrays, axes))


# The three operations. Each bwd rule is written with the other two.


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: _Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution: x [B, H, W, I], kernel [kh, kw, I, O] -> [B, H', W', O]."""
    return _by_platform(_cpu_forward, _lax_forward, True, geometry, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: _Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Its gradient in the images: g [B, H', W', O], kernel [kh, kw, I, O] -> [B, H, W, I]."""
    return _by_platform(_cpu_input_gradient, _lax_input_gradient, True, geometry, g, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(geometry: _Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Its gradient in the kernel: x [B, H, W, I], g [B, H', W', O] -> [kh, kw, I, O]."""
    return _by_platform(_cpu_kernel_gradient, _lax_kernel_gradient, False, geometry, x, g)


def _forward_bwd(geometry: _Geometry, kept: Arrays, g: jax.Array) -> Arrays:
    x, kernel, g = _same_axes(*kept, g)
    return _input_gradient(geometry, g, kernel), _kernel_gradient(geometry, x, g)


def _input_gradient_bwd(geometry: _Geometry, kept: Arrays, x: jax.Array) -> Arrays:
    g, kernel, x = _same_axes(*kept, x)
    return _forward(geometry, x, kernel), _kernel_gradient(geometry, x, g)


def _kernel_gradient_bwd(geometry: _Geometry, kept: Arrays, kernel: jax.Array) -> Arrays:
    x, g, kernel = _same_axes(*kept, kernel)
    return _input_gradient(geometry, g, kernel), _forward(geometry, x, kernel)


_forward.defvjp(lambda geometry, x, kernel: (_forward(geometry, x, kernel), (x, kernel)), _forward_bwd)
_input_gradient.defvjp(lambda geometry, g, kernel: (_input_gradient(geometry, g, kernel), (g, kernel)), _input_gradient_bwd)
_kernel_gradient.defvjp(lambda geometry, x, g: (_kernel_gradient(geometry, x, g), (x, g)), _kernel_gradient_bwd)


# How they are computed. Nothing below is ever differentiated.


def _by_platform(cpu: Operation, plain: Operation, batch_is_first: bool, geometry: _Geometry, a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the operation by `cpu` on CPU and by `plain` elsewhere, chosen at lowering.

    `lax.platform_dependent` and not `jax.default_backend()`: a function may be traced for a device other than the default one, or exported for several
    platforms at once. Compiled for one platform the choice is a constant, which XLA removes; inside the custom rules, it is never differentiated.
    """
    # A CPU has no fast 16-bit arithmetic: sums in float32 cost nothing more and round once.
    wide = jnp.promote_types(a.dtype, jnp.float32)

    def on_cpu(a: jax.Array, b: jax.Array) -> jax.Array:
        return _one_by_one(partial(cpu, geometry), batch_is_first)(a.astype(wide), b.astype(wide)).astype(a.dtype)

    return lax.platform_dependent(a, b, cpu=on_cpu, default=partial(plain, geometry))


def _one_by_one(function: Callable[[jax.Array, jax.Array], jax.Array], batch_is_first: bool) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Give function(a, b) a `vmap` rule that is fast on CPU.

    Where only the images are mapped, they become one larger batch. Where kernels differ (`vmap` over seeds), one after another: the default rule would make a
    grouped convolution, ten times slower.
    """

    @custom_vmap
    def mapped(a: jax.Array, b: jax.Array) -> jax.Array:
        return function(a, b)

    def rule(axis_size: int, in_batched: Sequence[bool], a: jax.Array, b: jax.Array) -> tuple[jax.Array, bool]:
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


def _lax_forward(geometry: _Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, geometry.strides, geometry.padding, dimension_numbers=_CANONICAL)


def _lax_input_gradient(geometry: _Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    pads, kernel = geometry.spread_padding(), lax.rev(kernel, (0, 1))
    return lax.conv_general_dilated(g, kernel, (1, 1), pads, lhs_dilation=geometry.strides, dimension_numbers=("NHWC", "HWOI", "NHWC"))


def _lax_kernel_gradient(geometry: _Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    pads = geometry.trimmed_padding()
    return lax.conv_general_dilated(x, g, (1, 1), pads, rhs_dilation=geometry.strides, dimension_numbers=("CHWN", "IHWO", "HWNC"))


def _pad(x: jax.Array, pads: Sequence[Pair], strides: Pair = (1, 1)) -> jax.Array:
    """Zeros around (or, where negative, cropping of) rows and columns of x [B, H, W, C], and strides - 1 zeros between them."""
    rows, columns = ((low, high, s - 1) for (low, high), s in zip(pads, strides))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))


def _few(kernel_size: Pair, inputs: int, outputs: int, most: int) -> bool:
    """Whether outputs are so few that all taps at once (kh kw outputs columns of intermediate result) beat a convolution.

    Measured on two cores: with 3 outputs, 4 to 50 times faster; at 32 a draw. The second condition bounds the memory.
    """
    taps = kernel_size[0] * kernel_size[1]
    return taps > 1 and outputs <= most and taps * outputs <= 16 * inputs


def _cpu_forward(geometry: _Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _dense_convolution(x, kernel, geometry.padding) if geometry.strides == (1, 1) else _lax_forward(geometry, x, kernel)


def _dense_convolution(x: jax.Array, kernel: jax.Array, pads: Sequence[Pair]) -> jax.Array:
    """Convolution with stride 1: as one matrix product for all taps and shifted sums where the output channels are few."""
    kh, kw, inputs, outputs = kernel.shape
    if not _few((kh, kw), inputs, outputs, 16):
        # XLA lays large unpadded images out tap by tap in memory; with a column of padding, made and cut off again, it does not. Measured on two
        # cores: 1.4 to 6 times faster where that would take 8 MiB or more; below there is nothing to gain.
        if kh * kw > 1 and not any(map(any, pads)) and x.size * kh * kw * 4 > 8 << 20:
            return lax.conv_general_dilated(x, kernel, (1, 1), ((0, 0), (0, 1)), dimension_numbers=_CANONICAL)[:, :, :-1]
        return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=_CANONICAL)
    x = _pad(x, pads)
    batch, height, width, _ = x.shape
    rows, columns = height - kh + 1, width - kw + 1
    taps = (x @ kernel.transpose(2, 0, 1, 3).reshape(1, 1, inputs, -1)).reshape(batch, height, width, kh, kw * outputs)
    # Sum over kernel rows first: then only kw instead of kh kw shifted arrays remain for the columns.
    summed = sum((taps[:, u : u + rows, :, u] for u in range(1, kh)), taps[:, :rows, :, 0]).reshape(batch, rows, width, kw, outputs)
    return sum((summed[:, :, v : v + columns, v] for v in range(1, kw)), summed[:, :, :columns, 0])


def _cpu_input_gradient(geometry: _Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    strides, kernel_size = geometry.strides, geometry.kernel_size
    missing = [-k % s for k, s in zip(kernel_size, strides)]
    # Where strides do not divide the kernel, phases need zero taps to fill it up, and zeros between the elements of g are the faster way; but not into
    # few channels or few pixels, where XLA is 10 times slower with a convolution of spread-out images (measured on two cores).
    if strides != (1, 1) and (not any(missing) or kernel.shape[2] <= 16 or min(geometry.input_size) <= 8):
        kernel = jnp.pad(kernel, (*((0, m) for m in missing), (0, 0), (0, 0)))
        (top, bottom), (left, right) = geometry.padding
        padding = ((top, bottom + missing[0]), (left, right + missing[1]))
        return _phases(geometry._replace(kernel_size=(kernel.shape[0], kernel.shape[1]), padding=padding), g, kernel)
    spread = _pad(g, geometry.spread_padding(), geometry.strides)
    return _dense_convolution(spread, kernel[::-1, ::-1].swapaxes(2, 3), ((0, 0), (0, 0)))


def _phases(geometry: _Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every output pixel's position modulo the strides is a phase with its own part of the kernel; one dense convolution makes all phases as channels."""
    (kh, kw), (sh, sw) = geometry.kernel_size, geometry.strides
    inputs, outputs = kernel.shape[2:]
    ah, aw = kh // sh, kw // sw
    parts = kernel.reshape(ah, sh, aw, sw, inputs, outputs)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(ah, aw, outputs, sh * sw * inputs)
    phases = _dense_convolution(g, parts, ((ah - 1, ah - 1), (aw - 1, aw - 1)))
    batch, height, width, _ = phases.shape
    woven = phases.reshape(batch, height, width, sh, sw, inputs).transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * sh, width * sw, inputs)
    lows = [low for low, _ in geometry.padding]
    return _pad(woven, [(-low, n + low - m) for low, n, m in zip(lows, geometry.input_size, woven.shape[1:3])])


def _cpu_kernel_gradient(geometry: _Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    window, strides, pads = geometry.kernel_size, geometry.strides, geometry.trimmed_padding()
    # Where g is smaller than the kernel (a last layer that judges the whole image), shifted copies of it would be mostly padding.
    wide = min(geometry.output_size) >= max(window)
    if strides == (1, 1) and wide and _few(window, x.shape[3], g.shape[3], 8):
        return _kernel_gradient_few(geometry, _pad(x, pads), g)
    if window == (1, 1) or geometry.output_size == (1, 1) or (strides != (1, 1) and x.shape[0] < 4):
        return _kernel_gradient_taps(geometry, _pad(x, pads), g)
    # A convolution of x as [I, H, W, B] with g as a kernel [H', W', B, O], transposed by hand to the one fast form.
    x, g = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    return lax.conv_general_dilated(x, g, (1, 1), pads, rhs_dilation=strides, dimension_numbers=_CANONICAL).transpose(1, 2, 0, 3)


def _kernel_gradient_few(geometry: _Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """All taps as one matrix product: padded x [B, H, W, I] with the shifted copies of g side by side."""
    (kh, kw), (_, height, width, inputs), outputs = geometry.kernel_size, x.shape, g.shape[3]
    g = _pad(g, ((kh - 1, kh - 1), (kw - 1, kw - 1)))
    shifted = [g[:, u : u + height, v : v + width] for u in range(kh - 1, -1, -1) for v in range(kw - 1, -1, -1)]
    columns = jnp.concatenate(shifted, axis=-1).reshape(-1, kh * kw * outputs)
    return (x.reshape(-1, inputs).T @ columns).reshape(inputs, kh, kw, outputs).transpose(1, 2, 0, 3)


def _kernel_gradient_taps(geometry: _Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One matrix product for each tap: padded x [B, H, W, I], shifted and strided, with g."""
    (kh, kw), (sh, sw), (rows, columns) = geometry.kernel_size, geometry.strides, geometry.output_size
    inputs, outputs = x.shape[3], g.shape[3]
    flat = g.reshape(-1, outputs)
    seen = [x[:, u : u + (rows - 1) * sh + 1 : sh, v : v + (columns - 1) * sw + 1 : sw] for u in range(kh) for v in range(kw)]
    return jnp.stack([part.reshape(-1, inputs).T @ flat for part in seen]).reshape(kh, kw, inputs, outputs)
