"""Convolutions between images of few channels and of many on GPUs: the columns of the kernel are made channels first. See `jaxgan.nn.convolution`.

GPUs multiply channels in eights. Images of 3 channels, or scores of one, are widened to that by passes of their own over memory, and most of what is
multiplied then is zeros. Here what the kernel's columns meet is laid beside each other, which makes kw times as many channels, and a convolution of rows with
rows is left, of a kernel [kh, 1, kw few, many]: 24 channels of 4x4 taps and 6, 21 and three of zeros of 7x7 taps and 3. Where the few are the result's, such a
convolution makes all columns of it, which are then added where they belong.

Takes and gives what `lax_*` of `.lax_forms` do; only rounding differs. Of results in 16 bits every column is rounded before they are added, in
float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.nn.channels import apart
from jaxgan.nn.convolution.geometry import Geometry, each_tap, taken_back, turn, wide
from jaxgan.nn.convolution.lax_forms import lax_forward, lax_input_gradient, lax_kernel_gradient

_EIGHT = 8


def gpu_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution [B, H', W', O]."""
    kernel = turn(geometry, kernel)
    inputs, outputs = kernel.shape[2:]
    if fits(geometry, inputs, outputs):
        met = each_tap(_columns(geometry, x), x)
        return lax_forward(
            _rows(geometry, of_images=True), _beside(met), _widened(_columns_as_inputs(kernel), 2)
        )
    if fits(geometry, outputs, inputs):
        made = lax_forward(
            _rows(geometry, of_images=False), x, _widened(_columns_as_outputs(kernel), 3)
        )
        columns = _columns(geometry, made)
        return _added(
            [
                each_tap(columns, column)[v]
                for v, column in enumerate(_apart(geometry, made, outputs))
            ]
        )
    return lax_forward(geometry._replace(turned=False), x, kernel)


def gpu_input_gradient(geometry: Geometry, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Gradient with respect to x [B, H, W, I]."""
    kernel = turn(geometry, kernel)
    inputs, outputs = kernel.shape[2:]
    if fits(geometry, inputs, outputs):
        made = lax_input_gradient(
            _rows(geometry, of_images=True), g, _widened(_columns_as_inputs(kernel), 2)
        )
        columns = _columns(geometry, made)
        return _added(
            [
                taken_back(columns, column, 0, v)
                for v, column in enumerate(_apart(geometry, made, inputs))
            ]
        )
    if fits(geometry, outputs, inputs):
        back = [taken_back(_columns(geometry, g), g, 0, v) for v in range(geometry.kernel_size[1])]
        return lax_input_gradient(
            _rows(geometry, of_images=False),
            _beside(back),
            _widened(_columns_as_outputs(kernel), 3),
        )
    return lax_input_gradient(geometry._replace(turned=False), g, kernel)


def gpu_kernel_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient with respect to the kernel, held as the geometry says."""
    (kh, kw), inputs, outputs = geometry.kernel_size, x.shape[3], g.shape[3]
    if fits(geometry, inputs, outputs):
        met = each_tap(_columns(geometry, x), x)
        slopes = lax_kernel_gradient(_rows(geometry, of_images=True), _beside(met), g)[
            :, 0, : kw * inputs
        ]
        return turn(geometry, slopes.reshape(kh, kw, inputs, outputs))
    if fits(geometry, outputs, inputs):
        back = [taken_back(_columns(geometry, g), g, 0, v) for v in range(kw)]
        slopes = lax_kernel_gradient(_rows(geometry, of_images=False), x, _beside(back))[
            :, 0, :, : kw * outputs
        ]
        return turn(geometry, slopes.reshape(kh, inputs, kw, outputs).swapaxes(1, 2))
    return lax_kernel_gradient(geometry, x, g)


def fits(geometry: Geometry, few: int, many: int) -> bool:
    """Whether the columns of a kernel between so many channels are made channels of the few.

    Measured alone on an H200, of 1, 3 and 6 channels and 64, 128 and 512, with kernels of 3x3, 4x4 and 7x7, each of the three operations: 1.2 to 6.5 times as
    fast in bfloat16; of 4x4 in float32 (as TF32) 1.04 to 2.6 times. Results narrower than the kernel were not measured: lax has them.
    """
    return few < _EIGHT <= many and 1 < geometry.kernel_size[1] <= geometry.output_size[1]


def _rows(geometry: Geometry, of_images: bool) -> Geometry:
    """What is left to convolve, where columns are channels of the images (which then are as wide as the result), or of the result (as wide as the images)."""
    width = (geometry.output_size if of_images else geometry.input_size)[1]
    (height, rows), pads = (
        (geometry.input_size[0], geometry.output_size[0]),
        (geometry.padding[0], (0, 0)),
    )
    return Geometry(
        (height, width), (rows, width), (geometry.kernel_size[0], 1), (geometry.strides[0], 1), pads
    )


def _columns(geometry: Geometry, x: jax.Array) -> Geometry:
    """A row of the kernel on rows as many as x [B, H or H', W or W', C] has: only columns move."""
    rows, across = x.shape[1], (geometry.input_size[1], geometry.output_size[1])
    return Geometry(
        (rows, across[0]),
        (rows, across[1]),
        (1, geometry.kernel_size[1]),
        (1, geometry.strides[1]),
        ((0, 0), geometry.padding[1]),
    )


def _columns_as_inputs(kernel: jax.Array) -> jax.Array:
    """[kh, kw, I, O] -> [kh, 1, kw I, O]."""
    kh, kw, inputs, outputs = kernel.shape
    return kernel.reshape(kh, 1, kw * inputs, outputs)


def _columns_as_outputs(kernel: jax.Array) -> jax.Array:
    """[kh, kw, I, O] -> [kh, 1, I, kw O]."""
    kh, kw, inputs, outputs = kernel.shape
    return kernel.swapaxes(1, 2).reshape(kh, 1, inputs, kw * outputs)


def _beside(columns: list[jax.Array]) -> jax.Array:
    """One array of all their channels, and of zeros up to a multiple of eight."""
    return _widened(jnp.concatenate(columns, 3), 3)


def _apart(geometry: Geometry, made: jax.Array, channels: int) -> list[jax.Array]:
    """The arrays of the columns, without the zeros at the end."""
    kw = geometry.kernel_size[1]
    return apart(made[..., : kw * channels], [channels] * kw)


def _added(arrays: list[jax.Array]) -> jax.Array:
    """Their sum, made in float32, in their own dtype."""
    terms = [array.astype(wide(array.dtype)) for array in arrays]
    return sum(terms[1:], terms[0]).astype(arrays[0].dtype)


def _widened(x: jax.Array, axis: int) -> jax.Array:
    return jnp.pad(x, [(0, -size % _EIGHT if i == axis else 0) for i, size in enumerate(x.shape)])
