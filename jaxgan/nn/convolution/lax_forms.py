"""A convolution and its two gradients in plain lax, as lax itself would differentiate them; see `jaxgan.nn.convolution`.

All take (geometry, two of x [B, H, W, I], g [B, H', W', O], kernel) and give the third. Kernels are [kh, kw, I, O], or [kh, kw, O, I] where the geometry
says `turned`.
"""

from __future__ import annotations

import jax
from jax import lax

from jaxgan.nn.convolution.geometry import CANONICAL, Geometry, turn


def lax_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution [B, H', W', O]."""
    kernel = turn(geometry, kernel)
    return lax.conv_general_dilated(
        x, kernel, geometry.strides, geometry.padding, dimension_numbers=CANONICAL
    )


def lax_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Gradient with respect to x [B, H, W, I]."""
    pads, kernel = geometry.spread_padding(), lax.rev(turn(geometry, kernel), (0, 1))
    return lax.conv_general_dilated(
        g,
        kernel,
        (1, 1),
        pads,
        lhs_dilation=geometry.strides,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def lax_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient with respect to the kernel, held as the geometry says."""
    pads = geometry.trimmed_padding()
    slopes = lax.conv_general_dilated(
        x,
        g,
        (1, 1),
        pads,
        rhs_dilation=geometry.strides,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )
    return turn(geometry, slopes)
