"""The gradient of a convolution in its kernel, in the forms that XLA runs fast on CPU; see `jaxgan.nn.convolution`.

All take (geometry, x [B, H, W, I], g [B, H', W', O]) and give [kh, kw, I, O], or [kh, kw, O, I] where the geometry says `turned`.
"""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.nn.channels import beside
from jaxgan.nn.convolution.choice import (
    crossing_pays,
    few_pixels,
    few_results,
    many_inputs,
    winograd_pays,
)
from jaxgan.nn.convolution.geometry import (
    CANONICAL,
    Geometry,
    each_tap,
    flat,
    pad,
    seen_by_taps,
    turn,
)
from jaxgan.nn.convolution.winograd import winograd_kernel_gradient

_ROWS = 256
"""Inputs below which `_kernel_gradient_rows` pays. Measured on two cores, 1 to 64 images: there as fast as a product for each tap or up to 2.6 times faster,
from there on up to 1.1 times slower. Either is 0.9 to 5 times as fast as a convolution, mostly 1.3 to 2.
"""


def cpu_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """As `lax_kernel_gradient`, by the fastest form for these sizes on CPU."""
    window, strides, inputs, outputs = (
        geometry.kernel_size,
        geometry.strides,
        x.shape[3],
        g.shape[3],
    )
    sizes = (geometry, x.shape[0], inputs, outputs)
    if few_pixels(*sizes):
        return _kernel_gradient_taps(geometry, x, g)
    if window == (1, 1):
        return turn(geometry, _over_pixels(each_tap(geometry, x)[0], g)[None, None])
    # Where g is smaller than the kernel (a last layer that judges the whole image), shifted copies of it would be mostly padding. Few images leave a
    # convolution little to add up in order: measured on one core, up to 16 outputs are then 1.1 to 7 times faster as one product.
    wide, most = (
        min(geometry.output_size) >= max(window),
        16 if isinstance(x.shape[0], int) and x.shape[0] <= 4 else 8,
    )
    few, crosses = (
        strides == (1, 1) and wide and few_results(window, inputs, outputs, most, widest=16),
        crossing_pays(*sizes),
    )
    if few and not (
        crosses and window[0] * inputs + window[1] * outputs < inputs + prod(window) * outputs
    ):  # fewer copies of channels
        return _kernel_gradient_few(geometry, x, g)
    if crosses:
        return _kernel_gradient_crossed(geometry, x, g)
    if winograd_pays(*sizes, of_kernel=True):
        return winograd_kernel_gradient(geometry, x, g)
    if strides != (1, 1) and inputs <= 4:
        return _kernel_gradient_gathered(geometry, x, g)
    if (window, strides) == ((3, 3), (2, 2)) and not many_inputs(*sizes):
        return (
            _kernel_gradient_taps(geometry, x, g)
            if inputs >= _ROWS
            else _kernel_gradient_rows(geometry, x, g)
        )
    if (
        geometry.output_size == (1, 1)
        or (strides != (1, 1) and x.shape[0] < 4)
        or many_inputs(*sizes)
    ):
        return _kernel_gradient_taps(geometry, x, g)
    return _kernel_gradient_convolution(geometry, x, g)


def _kernel_gradient_gathered(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One matrix product of what all taps meet, side by side."""
    slopes = flat(jnp.concatenate(each_tap(geometry, x), axis=3)).T @ flat(g)
    return turn(geometry, slopes.reshape(*geometry.kernel_size, x.shape[3], g.shape[3]))


def _kernel_gradient_rows(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """A matrix product for each row of the kernel, of what the row's taps meet side by side."""
    seen, kw = each_tap(geometry, x), geometry.kernel_size[1]
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
    first, second = (
        array.reshape(parts, -1, array.shape[3]) for array in ((g, x) if turned else (x, g))
    )
    made = jnp.sum(jnp.einsum("npa,npb->nab", first, second), 0)
    return made.T if turned else made


def _kernel_gradient_convolution(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """A convolution of x as [I, H, W, B] with g as a kernel [H', W', B, O], transposed by hand to the one fast form."""
    x, g, pads = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), geometry.trimmed_padding()
    slopes = lax.conv_general_dilated(
        x, g, (1, 1), pads, rhs_dilation=geometry.strides, dimension_numbers=CANONICAL
    ).transpose(1, 2, 0, 3)
    return turn(geometry, slopes)


def _kernel_gradient_taps(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Matrix products of a copy of x for each tap, all in one."""
    seen, given = seen_by_taps(geometry, x), flat(g)
    if geometry.turned and few_pixels(
        geometry, x.shape[0], x.shape[3], g.shape[3]
    ):  # a product for each tap: one for all is made unturned, then turned
        slopes = jnp.einsum(
            "tpo,tpi->toi", jnp.broadcast_to(given, (seen.shape[0], *given.shape)), seen
        )
    else:
        slopes = jnp.einsum("tpi,po->toi" if geometry.turned else "tpi,po->tio", seen, given)
    return slopes.reshape(*geometry.kernel_size, *slopes.shape[1:])


def _kernel_gradient_few(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One matrix product for all taps, of x with shifted copies of g beside each other; with stride 1."""
    (kh, kw), outputs = geometry.kernel_size, g.shape[3]
    columns = lax.optimization_barrier(
        beside([pad(g, ((0, 0), (v, kw - 1 - v))) for v in range(kw)])
    )
    copies = beside([pad(columns, ((u, kh - 1 - u), (0, 0))) for u in range(kh)])
    slopes = _over_pixels(pad(x, geometry.trimmed_padding()), copies).reshape(
        x.shape[3], kh, kw, outputs
    )
    return turn(geometry, slopes.transpose(1, 2, 0, 3))
