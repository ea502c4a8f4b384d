"""How a convolution and its two gradients are computed: `lax_*` plainly, `cpu_*` in the forms that XLA runs fast on CPU; see `jaxgan.nn.conv`.

All take (geometry, two of x [B, H, W, I], g [B, H', W', O], kernel) and give the third. Kernels are [kh, kw, I, O], or [kh, kw, O, I] where the geometry
says `turned`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.nn.channels import beside
from jaxgan.nn.geometry import Geometry, Pair, pad, turn
from jaxgan.nn.winograd import fits, widening, winograd_forward, winograd_input_gradient, winograd_kernel_gradient

_CANONICAL = ("NHWC", "HWIO", "NHWC")

_DENSE, _WIDENED = 112, 200
"""Mean channels from which on `_winograd` pays in a convolution or its gradient in the images, and where it widens the images."""
_KERNEL, _KERNEL_WIDENED = 80, 170
"""The same of gradients of kernels."""
_CROSSED = 16
"""Mean channels from which on `_crosses` pays, up to those two."""
_ROWS = 256
"""Inputs below which `_kernel_gradient_rows` pays. Measured on two cores, 1 to 64 images: there as fast as a product for each tap or up to 2.6 times faster,
from there on up to 1.1 times slower. Either is 0.9 to 5 times as fast as a convolution, mostly 1.3 to 2.
"""


def lax_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution [B, H', W', O]."""
    kernel = turn(geometry, kernel)
    return lax.conv_general_dilated(x, kernel, geometry.strides, geometry.padding, dimension_numbers=_CANONICAL)


def lax_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Gradient with respect to x [B, H, W, I]."""
    pads, kernel = geometry.spread_padding(), lax.rev(turn(geometry, kernel), (0, 1))
    return lax.conv_general_dilated(g, kernel, (1, 1), pads, lhs_dilation=geometry.strides, dimension_numbers=("NHWC", "HWOI", "NHWC"))


def lax_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient with respect to the kernel, held as the geometry says."""
    pads = geometry.trimmed_padding()
    slopes = lax.conv_general_dilated(x, g, (1, 1), pads, rhs_dilation=geometry.strides, dimension_numbers=("CHWN", "IHWO", "HWNC"))
    return turn(geometry, slopes)


def _few(kernel_size: Pair, inputs: int, outputs: int, most: int, widest: int) -> bool:
    """Whether outputs are so few that all taps at once (kh kw outputs columns of intermediate result) beat a convolution.

    Measured on two cores with up to 16 outputs, forward: 1.1 to 14 times faster where those columns are no more than twice the inputs, or take a few MiB;
    in large images slower, up to twice, where they are many more. widest: columns for each input.
    """
    taps = kernel_size[0] * kernel_size[1]
    return taps > 1 and outputs <= most and taps * outputs <= widest * inputs


def _few_pixels(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether the kernel is so much larger than the images that time goes into reading it, as in the middle of a U-Net: it is then used as it lies in
    memory, by a matrix product for each tap.

    Measured on one core, 4x4 kernels of 256 to 1024 channels: 2 to 30 times faster up to 64 pixels than forms that first lay the kernel out anew.
    """
    pixels = batch * prod(geometry.output_size) if isinstance(batch, int) else inputs  # any number, where a program is exported
    return prod(geometry.kernel_size) > 1 and 2 * pixels * (inputs + outputs) <= inputs * outputs


def _mean_channels(geometry: Geometry, inputs: int, outputs: int) -> float:
    """The harmonic mean, with as many inputs as `jaxgan.nn.winograd` computes with."""
    inputs *= widening(geometry)
    return 2 * inputs * outputs / (inputs + outputs)


def _winograd(geometry: Geometry, batch: Any, inputs: int, outputs: int, of_kernel: bool = False) -> bool:
    """Whether what `jaxgan.nn.winograd` saves in products, which grows with the channels, is worth its additions and its larger kernel.

    Measured on one and two cores, 1.0 to 1.9 times as fast from the least mean channels on: 3x3 kernels gain with 128 channels and lose with 64, 4x4 ones of
    stride 1 are as fast with 64; of stride 2, other forms are good, and the transforms cost more, up to about 200; gradients of kernels are slow in every
    other form and gain a little earlier.
    """
    if not fits(geometry) or _pixels(geometry, batch) < 192 * prod(geometry.strides):
        return False
    least = (_KERNEL, _KERNEL_WIDENED) if of_kernel else (_DENSE, _WIDENED)
    return _mean_channels(geometry, inputs, outputs) >= least[widening(geometry) > 1]


def _many_channels(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether channels are so many that one matrix product is faster than a convolution, although it takes copies of the images as every tap sees them.

    Measured on two cores, 4x4 kernels: 1.1 to 2.5 times faster, most for the fewest pixels. The last condition bounds the memory, in bytes.
    """
    depth = prod(geometry.kernel_size) * inputs
    return depth >= 4096 and outputs >= 256 and 4 * depth * _pixels(geometry, batch) <= 64 << 20


def _pixels(geometry: Geometry, batch: Any) -> int:
    """Of all outputs; of one image where the batch is any number, as in a program that is exported."""
    return prod(geometry.output_size) * (batch if isinstance(batch, int) else 1)


def cpu_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `lax_forward`, by the fastest form for these sizes on CPU."""
    inputs, outputs = kernel.shape[2:][:: -1 if geometry.turned else 1]
    sizes = (geometry, x.shape[0], inputs, outputs)
    if _few_pixels(*sizes):
        return _forward_taps(geometry, x, kernel)
    if _winograd(*sizes):
        return winograd_forward(geometry, x, kernel)
    if _many_channels(*sizes):
        return _gathered(geometry, x, kernel)
    if geometry.strides == (1, 1):
        return _dense_convolution(x, turn(geometry, kernel), geometry.padding)
    return lax_forward(geometry, x, kernel)


def _forward_taps(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A matrix product for each tap, of a copy of x that fits it, and their sum."""
    seen, taps = _seen_by_taps(geometry, x), kernel.reshape(-1, *kernel.shape[2:])
    # Turned, the kernel is the first factor: as the second one, XLA would lay it out anew.
    made = jnp.sum(jnp.einsum("toi,tpi->top", taps, seen), 0).T if geometry.turned else jnp.sum(jnp.einsum("tpi,tio->tpo", seen, taps), 0)
    return made.reshape(x.shape[0], *geometry.output_size, made.shape[1])


def _gathered(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One matrix product of what all taps meet, side by side (im2col)."""
    made = _flat(jnp.concatenate(_each_tap(geometry, x), axis=3)) @ turn(geometry, kernel).reshape(-1, kernel.shape[2 if geometry.turned else 3])
    return made.reshape(x.shape[0], *geometry.output_size, made.shape[1])


def _dense_convolution(x: jax.Array, kernel: jax.Array, pads: Sequence[Pair]) -> jax.Array:
    """Convolution with stride 1: as one matrix product for all taps and shifted sums where the output channels are few."""
    kh, kw, inputs, outputs = kernel.shape
    count = x.shape[0] if isinstance(x.shape[0], int) else 1  # any number, where a program is exported
    small = count * prod(x.shape[1:3]) * kh * kw * outputs * 4 <= 8 << 20
    if not _few((kh, kw), inputs, outputs, 16, widest=16 if small else 2):
        # XLA lays large unpadded images out tap by tap in memory; with a column of padding, made and cut off again, it does not. Measured on two
        # cores: 1.4 to 6 times faster where that would take 8 MiB or more; below there is nothing to gain.
        if kh * kw > 1 and not any(map(any, pads)) and count * prod(x.shape[1:]) * kh * kw * 4 > 8 << 20:
            return _with_column(x, kernel)
        return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=_CANONICAL)
    return _few_outputs(pad(x, pads), kernel)


def _with_column(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of unpadded images with one column too many, cut off again."""
    return lax.conv_general_dilated(x, kernel, (1, 1), ((0, 0), (0, 1)), dimension_numbers=_CANONICAL)[:, :, :-1]


def _few_outputs(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of padded images by one matrix product for all taps, whose results are added where they belong."""
    (batch, height, width, _), (kh, kw, inputs, outputs) = x.shape, kernel.shape
    rows, columns = height - kh + 1, width - kw + 1
    taps = (x @ kernel.transpose(2, 0, 1, 3).reshape(1, 1, inputs, -1)).reshape(batch, height, width, kh, kw * outputs)
    # Sum over kernel rows first: then only kw instead of kh kw shifted arrays remain for the columns.
    summed = sum((taps[:, u : u + rows, :, u] for u in range(1, kh)), taps[:, :rows, :, 0]).reshape(batch, rows, width, kw, outputs)
    return sum((summed[:, :, v : v + columns, v] for v in range(1, kw)), summed[:, :, :columns, 0])


def cpu_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `lax_input_gradient`, by the fastest form for these sizes on CPU."""
    strides, (inputs, outputs) = geometry.strides, kernel.shape[2:][:: -1 if geometry.turned else 1]
    sizes = (geometry, g.shape[0], inputs, outputs)
    if _few_pixels(*sizes):
        return _input_gradient_taps(geometry, g, kernel)
    if _winograd(*sizes):
        return winograd_input_gradient(geometry, g, kernel)
    if inputs >= 256 and _many_channels(*sizes):
        return _input_gradient_taps(geometry, g, kernel)
    if strides == (1, 1):
        kernel, pads = turn(geometry, kernel)[::-1, ::-1].swapaxes(2, 3), geometry.spread_padding()
        cropped = min(map(min, pads)) < 0
        return _dense_convolution(pad(g, pads) if cropped else g, kernel, ((0, 0), (0, 0)) if cropped else pads)
    # All phases from one convolution meet zero taps where strides do not divide the kernel, and a row and a column too many, which is much of a small
    # image. A convolution for each phase meets neither, but has fewer channels to fill the vector units. Measured on two cores: apart, 3x3 and 5x5 kernels
    # are 2 to 5 times faster than together or than one convolution of g with zeros between its elements; 4x4 kernels 1.0 to 1.5 times up to 8x8 pixels.
    uneven = any(k % s for k, s in zip(geometry.kernel_size, strides))
    wasteful = (uneven and inputs > 16) or (min(geometry.output_size) <= 8 and inputs >= 128)
    if wasteful and all(k >= s for k, s in zip(geometry.kernel_size, strides)):
        return _phases_apart(geometry, g, kernel)
    return _phases_together(geometry, g, kernel)


def _phases_apart(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every output pixel's position modulo the strides is a phase: a dense convolution with every second (third, ...) tap of the kernel."""
    (height, width), (sh, sw) = geometry.input_size, geometry.strides
    places = [[_phase(geometry, axis, i) for i in range(geometry.strides[axis])] for axis in (0, 1)]
    made = []
    for u, rows in places[0]:
        for v, columns in places[1]:
            part = kernel[u::sh, v::sw][::-1, ::-1]
            part = part if geometry.turned else part.swapaxes(2, 3)
            made.append(lax.conv_general_dilated(g, part, (1, 1), (rows, columns), dimension_numbers=_CANONICAL))
    woven = jnp.stack(made, 3).reshape(*made[0].shape[:3], sh, sw, -1).transpose(0, 1, 3, 2, 4, 5)
    return woven.reshape(g.shape[0], woven.shape[1] * sh, woven.shape[3] * sw, -1)[:, :height, :width]


def _phase(geometry: Geometry, axis: int, position: int) -> tuple[int, Pair]:
    """Of the rows (columns) position, position + stride, ...: the first tap that reaches them, and the padding of g that gives the right number of them.

    Tap u brings row j of g to row j * stride + u - low.
    """
    stride, place = geometry.strides[axis], position + geometry.padding[axis][0]
    first, shift = place % stride, place // stride
    taps, rows = len(range(first, geometry.kernel_size[axis], stride)), -(-geometry.input_size[axis] // stride)
    return first, (taps - 1 - shift, rows + shift - geometry.output_size[axis])


def _phases_together(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every output pixel's position modulo the strides is a phase with its own part of the kernel; one dense convolution makes all phases as channels."""
    strides = geometry.strides
    missing = [-k % s for k, s in zip(geometry.kernel_size, strides)]
    kernel = jnp.pad(turn(geometry, kernel), (*((0, m) for m in missing), (0, 0), (0, 0)))
    (kh, kw, inputs, outputs), (sh, sw) = kernel.shape, strides
    ah, aw = kh // sh, kw // sw
    parts = kernel.reshape(ah, sh, aw, sw, inputs, outputs)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(ah, aw, outputs, sh * sw * inputs)
    phases = _dense_convolution(g, parts, ((ah - 1, ah - 1), (aw - 1, aw - 1)))
    batch, height, width, _ = phases.shape
    woven = phases.reshape(batch, height, width, sh, sw, inputs).transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * sh, width * sw, inputs)
    lows = [low for low, _ in geometry.padding]
    return pad(woven, [(-low, n + low - m) for low, n, m in zip(lows, geometry.input_size, woven.shape[1:3])])


def _input_gradient_taps(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """What each tap gives, from one matrix product, added at its shifted and spread places."""
    (kh, kw), strides, flat = geometry.kernel_size, geometry.strides, g.reshape(-1, g.shape[3])
    taps = kernel.reshape(-1, *kernel.shape[2:])
    if geometry.turned:  # a product for each tap: one for all would first turn the kernel
        made = jnp.einsum("tpo,toi->tpi", jnp.broadcast_to(flat, (kh * kw, *flat.shape)), taps)
    else:
        made = jnp.einsum("po,tio->tpi", flat, taps)
    made = made.reshape(kh, kw, *g.shape[:3], made.shape[2])

    def place(u: int, v: int) -> jax.Array:
        lows = [tap - low for tap, (low, _) in zip((u, v), geometry.padding)]
        pads = [(low, n - low - (m - 1) * s - 1) for low, n, m, s in zip(lows, geometry.input_size, geometry.output_size, strides)]
        return pad(made[u, v], pads, strides)

    return sum((place(u, v) for u in range(kh) for v in range(kw) if u + v > 0), place(0, 0))


def _many_inputs(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether the gradient of the kernel is better made by a matrix product for each tap, of copies of x that fit each.

    Measured on two cores, 3x3 and 4x4 kernels: 0.9 to 1.9 times faster, mostly 1.2, and the result is in the right order at once. The last condition bounds
    the memory, in bytes.
    """
    pixels = batch * prod(geometry.output_size) if isinstance(batch, int) else 1 << 30  # any number, where a program is exported
    return inputs >= 128 and pixels <= 16 * outputs and 4 * prod(geometry.kernel_size) * pixels * inputs <= 64 << 20


def _crosses(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether the gradient of the kernel is best made by `_kernel_gradient_crossed`: there are enough channels, but not yet enough for `_winograd`.

    Measured on two cores, 3x3 kernels: 2 to 3 times faster than the next form with up to 32 channels, 1.1 times with 64, but slower in images below 16x16;
    4x4 ones of stride 2: up to 2 times with the 3 channels of images, 1.05 times with 64.
    """
    fitting = (geometry.kernel_size, geometry.strides) in (((3, 3), (1, 1)), ((4, 4), (2, 2))) and min(geometry.output_size) >= 16
    return fitting and _mean_channels(geometry, inputs, outputs) >= _CROSSED and not _winograd(geometry, batch, inputs, outputs, of_kernel=True)


def cpu_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """As `lax_kernel_gradient`, by the fastest form for these sizes on CPU."""
    window, strides, inputs, outputs = geometry.kernel_size, geometry.strides, x.shape[3], g.shape[3]
    sizes = (geometry, x.shape[0], inputs, outputs)
    if _few_pixels(*sizes):
        return _kernel_gradient_taps(geometry, x, g)
    if window == (1, 1):
        return turn(geometry, _over_pixels(_each_tap(geometry, x)[0], g)[None, None])
    # Where g is smaller than the kernel (a last layer that judges the whole image), shifted copies of it would be mostly padding. Few images leave a
    # convolution little to add up in order: measured on one core, up to 16 outputs are then 1.1 to 7 times faster as one product.
    wide, most = min(geometry.output_size) >= max(window), 16 if isinstance(x.shape[0], int) and x.shape[0] <= 4 else 8
    few, crosses = strides == (1, 1) and wide and _few(window, inputs, outputs, most, widest=16), _crosses(*sizes)
    if few and not (crosses and window[0] * inputs + window[1] * outputs < inputs + prod(window) * outputs):  # fewer copies of channels
        return _kernel_gradient_few(geometry, x, g)
    if crosses:
        return _kernel_gradient_crossed(geometry, x, g)
    if _winograd(*sizes, of_kernel=True):
        return winograd_kernel_gradient(geometry, x, g)
    if strides != (1, 1) and inputs <= 4:
        return _kernel_gradient_gathered(geometry, x, g)
    if (window, strides) == ((3, 3), (2, 2)) and not _many_inputs(*sizes):
        return _kernel_gradient_taps(geometry, x, g) if inputs >= _ROWS else _kernel_gradient_rows(geometry, x, g)
    if geometry.output_size == (1, 1) or (strides != (1, 1) and x.shape[0] < 4) or _many_inputs(*sizes):
        return _kernel_gradient_taps(geometry, x, g)
    return _kernel_gradient_convolution(geometry, x, g)


def _kernel_gradient_gathered(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One matrix product of what all taps meet, side by side."""
    slopes = _flat(jnp.concatenate(_each_tap(geometry, x), axis=3)).T @ _flat(g)
    return turn(geometry, slopes.reshape(*geometry.kernel_size, x.shape[3], g.shape[3]))


def _kernel_gradient_rows(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """A matrix product for each row of the kernel, of what the row's taps meet side by side."""
    seen, kw = _each_tap(geometry, x), geometry.kernel_size[1]
    slopes = jnp.stack([_over_pixels(beside(seen[i : i + kw]), g) for i in range(0, len(seen), kw)])
    return turn(geometry, slopes.reshape(*geometry.kernel_size, x.shape[3], g.shape[3]))


def _kernel_gradient_crossed(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One matrix product for all taps: of x with the rows that the kernel's rows meet beside each other as channels, and of g with its columns beside each
    other as the kernel's columns meet them, so that kh + kw copies hold all kh kw taps. As many columns of x as the stride, which divides kw, are one.
    """
    (kh, kw), (down, across), rows = geometry.kernel_size, geometry.strides, geometry.output_size[0]
    odd = rows % 2  # a row of zeros, for an even number of them
    (top, _), sides = geometry.trimmed_padding()
    length = (rows + odd - 1) * down + 1 - top - x.shape[1]
    x, g = lax.optimization_barrier((x, g))  # or what makes them would be computed for each copy
    met = [pad(x, ((top - u, length + u), sides))[:, ::down] for u in range(kh)]
    seen = beside([part.reshape(*part.shape[:2], part.shape[2] // across, -1) for part in met])
    given = beside([pad(g, ((0, odd), (v, kw // across - 1 - v))) for v in range(kw // across)])
    slopes = _over_pixels(seen, given).reshape(kh, across, -1, kw // across, g.shape[3])
    return turn(geometry, slopes.transpose(0, 3, 1, 2, 4).reshape(kh, kw, -1, g.shape[3]))


def _over_pixels(x: jax.Array, g: jax.Array) -> jax.Array:
    """Sums over pixels of all products of a channel of x and one of g, [B, H, W, I] and [B, H, W, O] -> [I, O].

    Both halves of an even number of rows are products of their own, which run beside each other: 1.4 times faster. XLA lays the first factor of a product
    out anew: it should be the smaller one.
    """
    turned, parts = x.shape[3] > g.shape[3], 1 + (x.shape[1] % 2 == 0)
    first, second = (array.reshape(parts, -1, array.shape[3]) for array in ((g, x) if turned else (x, g)))
    made = jnp.sum(jnp.einsum("npa,npb->nab", first, second), 0)
    return made.T if turned else made


def _kernel_gradient_convolution(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """A convolution of x as [I, H, W, B] with g as a kernel [H', W', B, O], transposed by hand to the one fast form."""
    x, g, pads = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), geometry.trimmed_padding()
    slopes = lax.conv_general_dilated(x, g, (1, 1), pads, rhs_dilation=geometry.strides, dimension_numbers=_CANONICAL).transpose(1, 2, 0, 3)
    return turn(geometry, slopes)


def _kernel_gradient_taps(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Matrix products of a copy of x for each tap, all in one."""
    seen, flat = _seen_by_taps(geometry, x), _flat(g)
    if geometry.turned and _few_pixels(geometry, x.shape[0], x.shape[3], g.shape[3]):  # a product for each tap: one for all is made unturned, then turned
        slopes = jnp.einsum("tpo,tpi->toi", jnp.broadcast_to(flat, (seen.shape[0], *flat.shape)), seen)
    else:
        slopes = jnp.einsum("tpi,po->toi" if geometry.turned else "tpi,po->tio", seen, flat)
    return slopes.reshape(*geometry.kernel_size, *slopes.shape[1:])


def _kernel_gradient_few(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One matrix product for all taps, of x with shifted copies of g beside each other; with stride 1."""
    (kh, kw), outputs = geometry.kernel_size, g.shape[3]
    columns = lax.optimization_barrier(beside([pad(g, ((0, 0), (v, kw - 1 - v))) for v in range(kw)]))
    copies = beside([pad(columns, ((u, kh - 1 - u), (0, 0))) for u in range(kh)])
    slopes = _over_pixels(pad(x, geometry.trimmed_padding()), copies).reshape(x.shape[3], kh, kw, outputs)
    return turn(geometry, slopes.transpose(1, 2, 0, 3))


def _seen_by_taps(geometry: Geometry, x: jax.Array) -> jax.Array:
    """x [B, H, W, I] -> [kh kw, B H' W', I]: what each tap of the kernel meets at every output pixel."""
    return jnp.stack([_flat(seen) for seen in _each_tap(geometry, x)])


def _flat(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B H W, C]."""
    return x.reshape(-1, x.shape[3])


def _each_tap(geometry: Geometry, x: jax.Array) -> list[jax.Array]:
    """For each tap, in order, what it meets: [B, H', W', I]."""
    (kh, kw), (sh, sw), (rows, columns) = geometry.kernel_size, geometry.strides, geometry.output_size
    x = pad(x, geometry.trimmed_padding())
    return [x[:, u : u + (rows - 1) * sh + 1 : sh, v : v + (columns - 1) * sw + 1 : sw] for u in range(kh) for v in range(kw)]
