"""A convolution and its gradient in the images, in the forms that XLA runs fast on CPU; see `jaxgan.nn.convolution`.

All take (geometry, x [B, H, W, I] or g [B, H', W', O], kernel) and give the other one. Kernels are [kh, kw, I, O], or [kh, kw, O, I] where the geometry says
`turned`. Gradients in the kernel are in `jaxgan.nn.convolution.kernel_gradients`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.nn.convolution.choice import few_pixels, few_results, many_channels, winograd_pays
from jaxgan.nn.convolution.geometry import (
    CANONICAL,
    Geometry,
    Pair,
    each_tap,
    flat,
    pad,
    seen_by_taps,
    taken_back,
    turn,
)
from jaxgan.nn.convolution.lax_forms import lax_forward
from jaxgan.nn.convolution.winograd import winograd_forward, winograd_input_gradient


def cpu_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `lax_forward`, by the fastest form for these sizes on CPU."""
    inputs, outputs = kernel.shape[2:][:: -1 if geometry.turned else 1]
    sizes = (geometry, x.shape[0], inputs, outputs)
    if few_pixels(*sizes):
        return _forward_taps(geometry, x, kernel)
    if winograd_pays(*sizes):
        return winograd_forward(geometry, x, kernel)
    if many_channels(*sizes):
        return _gathered(geometry, x, kernel)
    if geometry.strides == (1, 1):
        return _dense_convolution(x, turn(geometry, kernel), geometry.padding)
    return lax_forward(geometry, x, kernel)


def _forward_taps(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A matrix product for each tap, of a copy of x that fits it, and their sum."""
    seen, taps = seen_by_taps(geometry, x), kernel.reshape(-1, *kernel.shape[2:])
    # Turned, the kernel is the first factor: as the second one, XLA would lay it out anew.
    made = (
        jnp.sum(jnp.einsum("toi,tpi->top", taps, seen), 0).T
        if geometry.turned
        else jnp.sum(jnp.einsum("tpi,tio->tpo", seen, taps), 0)
    )
    return made.reshape(x.shape[0], *geometry.output_size, made.shape[1])


def _gathered(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One matrix product of what all taps meet, side by side (im2col)."""
    made = flat(jnp.concatenate(each_tap(geometry, x), axis=3)) @ turn(geometry, kernel).reshape(
        -1, kernel.shape[2 if geometry.turned else 3]
    )
    return made.reshape(x.shape[0], *geometry.output_size, made.shape[1])


def _dense_convolution(x: jax.Array, kernel: jax.Array, pads: Sequence[Pair]) -> jax.Array:
    """Convolution with stride 1: as one matrix product for all taps and shifted sums where the output channels are few."""
    kh, kw, inputs, outputs = kernel.shape
    count = (
        x.shape[0] if isinstance(x.shape[0], int) else 1
    )  # any number, where a program is exported
    small = count * prod(x.shape[1:3]) * kh * kw * outputs * 4 <= 8 << 20
    if not few_results((kh, kw), inputs, outputs, 16, widest=16 if small else 2):
        # XLA lays large unpadded images out tap by tap in memory; with a column of padding, made and cut off again, it does not. Measured on two
        # cores: 1.4 to 6 times faster where that would take 8 MiB or more; below there is nothing to gain.
        if (
            kh * kw > 1
            and not any(map(any, pads))
            and count * prod(x.shape[1:]) * kh * kw * 4 > 8 << 20
        ):
            return _with_column(x, kernel)
        return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=CANONICAL)
    return _few_outputs(pad(x, pads), kernel)


def _with_column(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of unpadded images with one column too many, cut off again."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), ((0, 0), (0, 1)), dimension_numbers=CANONICAL
    )[:, :, :-1]


def _few_outputs(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of padded images by one matrix product for all taps, whose results are added where they belong."""
    (batch, height, width, _), (kh, kw, inputs, outputs) = x.shape, kernel.shape
    rows, columns = height - kh + 1, width - kw + 1
    taps = (x @ kernel.transpose(2, 0, 1, 3).reshape(1, 1, inputs, -1)).reshape(
        batch, height, width, kh, kw * outputs
    )
    # Sum over kernel rows first: then only kw instead of kh kw shifted arrays remain for the columns.
    summed = sum((taps[:, u : u + rows, :, u] for u in range(1, kh)), taps[:, :rows, :, 0]).reshape(
        batch, rows, width, kw, outputs
    )
    return sum((summed[:, :, v : v + columns, v] for v in range(1, kw)), summed[:, :, :columns, 0])


def cpu_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """As `lax_input_gradient`, by the fastest form for these sizes on CPU."""
    strides, (inputs, outputs) = geometry.strides, kernel.shape[2:][:: -1 if geometry.turned else 1]
    sizes = (geometry, g.shape[0], inputs, outputs)
    if few_pixels(*sizes):
        return _input_gradient_taps(geometry, g, kernel)
    if winograd_pays(*sizes):
        return winograd_input_gradient(geometry, g, kernel)
    if inputs >= 256 and many_channels(*sizes):
        return _input_gradient_taps(geometry, g, kernel)
    if strides == (1, 1):
        kernel, pads = turn(geometry, kernel)[::-1, ::-1].swapaxes(2, 3), geometry.spread_padding()
        cropped = min(map(min, pads)) < 0
        return _dense_convolution(
            pad(g, pads) if cropped else g, kernel, ((0, 0), (0, 0)) if cropped else pads
        )
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
            made.append(
                lax.conv_general_dilated(
                    g, part, (1, 1), (rows, columns), dimension_numbers=CANONICAL
                )
            )
    woven = jnp.stack(made, 3).reshape(*made[0].shape[:3], sh, sw, -1).transpose(0, 1, 3, 2, 4, 5)
    return woven.reshape(g.shape[0], woven.shape[1] * sh, woven.shape[3] * sw, -1)[
        :, :height, :width
    ]


def _phase(geometry: Geometry, axis: int, position: int) -> tuple[int, Pair]:
    """Of the rows (columns) position, position + stride, ...: the first tap that reaches them, and the padding of g that gives the right number of them.

    Tap u brings row j of g to row j * stride + u - low.
    """
    stride, place = geometry.strides[axis], position + geometry.padding[axis][0]
    first, shift = place % stride, place // stride
    taps, rows = (
        len(range(first, geometry.kernel_size[axis], stride)),
        -(-geometry.input_size[axis] // stride),
    )
    return first, (taps - 1 - shift, rows + shift - geometry.output_size[axis])


def _phases_together(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every output pixel's position modulo the strides is a phase with its own part of the kernel; one dense convolution makes all phases as channels."""
    strides = geometry.strides
    missing = [-k % s for k, s in zip(geometry.kernel_size, strides)]
    kernel = jnp.pad(turn(geometry, kernel), (*((0, m) for m in missing), (0, 0), (0, 0)))
    (kh, kw, inputs, outputs), (sh, sw) = kernel.shape, strides
    ah, aw = kh // sh, kw // sw
    parts = (
        kernel.reshape(ah, sh, aw, sw, inputs, outputs)[::-1, :, ::-1]
        .transpose(0, 2, 5, 1, 3, 4)
        .reshape(ah, aw, outputs, sh * sw * inputs)
    )
    phases = _dense_convolution(g, parts, ((ah - 1, ah - 1), (aw - 1, aw - 1)))
    batch, height, width, _ = phases.shape
    woven = (
        phases.reshape(batch, height, width, sh, sw, inputs)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(batch, height * sh, width * sw, inputs)
    )
    lows = [low for low, _ in geometry.padding]
    return pad(
        woven,
        [(-low, n + low - m) for low, n, m in zip(lows, geometry.input_size, woven.shape[1:3])],
    )


def _input_gradient_taps(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """What each tap gives, from one matrix product, added at its shifted and spread places."""
    (kh, kw), given = geometry.kernel_size, flat(g)
    taps = kernel.reshape(-1, *kernel.shape[2:])
    if geometry.turned:  # a product for each tap: one for all would first turn the kernel
        made = jnp.einsum("tpo,toi->tpi", jnp.broadcast_to(given, (kh * kw, *given.shape)), taps)
    else:
        made = jnp.einsum("po,tio->tpi", given, taps)
    made = made.reshape(kh, kw, *g.shape[:3], made.shape[2])
    return sum(
        (taken_back(geometry, made[u, v], u, v) for u in range(kh) for v in range(kw) if u + v > 0),
        taken_back(geometry, made[0, 0], 0, 0),
    )
