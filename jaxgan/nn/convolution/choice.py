"""For which sizes which form of a convolution or its gradients is fast on CPUs, as measured: what `.forms` and `.kernel_gradients` of `jaxgan.nn` go by.

batch: a number of images, or what stands for any number of them where a program is exported.
"""

from __future__ import annotations

from math import prod
from typing import Any

from jaxgan.nn.convolution.geometry import Geometry, Pair
from jaxgan.nn.convolution.winograd import fits, widening

_DENSE, _WIDENED = 112, 200
"""Mean channels from which on Winograd's form pays in a convolution or its gradient in the images, and where it widens the images."""
_KERNEL, _KERNEL_WIDENED = 80, 170
"""The same of gradients of kernels."""
_CROSSED = 16
"""Mean channels from which on crossing pays, up to those two."""


def few_results(kernel_size: Pair, inputs: int, outputs: int, most: int, widest: int) -> bool:
    """Whether outputs are so few that all taps at once (kh kw outputs columns of intermediate result) beat a convolution.

    Measured on two cores with up to 16 outputs, forward: 1.1 to 14 times faster where those columns are no more than twice the inputs, or take a few MiB;
    in large images slower, up to twice, where they are many more. widest: columns for each input.
    """
    taps = kernel_size[0] * kernel_size[1]
    return taps > 1 and outputs <= most and taps * outputs <= widest * inputs


def few_pixels(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether the kernel is so much larger than the images that time goes into reading it, as in the middle of a U-Net: it is then used as it lies in
    memory, by a matrix product for each tap.

    Measured on one core, 4x4 kernels of 256 to 1024 channels: 2 to 30 times faster up to 64 pixels than forms that first lay the kernel out anew.
    """
    count = batch * prod(geometry.output_size) if isinstance(batch, int) else inputs
    return prod(geometry.kernel_size) > 1 and 2 * count * (inputs + outputs) <= inputs * outputs


def mean_channels(geometry: Geometry, inputs: int, outputs: int) -> float:
    """The harmonic mean, with as many inputs as `jaxgan.nn.convolution.winograd` computes with."""
    inputs *= widening(geometry)
    return 2 * inputs * outputs / (inputs + outputs)


def winograd_pays(
    geometry: Geometry, batch: Any, inputs: int, outputs: int, of_kernel: bool = False
) -> bool:
    """Whether what `jaxgan.nn.convolution.winograd` saves in products, which grows with the channels, is worth its additions and its larger kernel.

    Measured on one and two cores, 1.0 to 1.9 times as fast from the least mean channels on: 3x3 kernels gain with 128 channels and lose with 64, 4x4 ones of
    stride 1 are as fast with 64; of stride 2, other forms are good, and the transforms cost more, up to about 200; gradients of kernels are slow in every
    other form and gain a little earlier.
    """
    if not fits(geometry) or pixels(geometry, batch) < 192 * prod(geometry.strides):
        return False
    least = (_KERNEL, _KERNEL_WIDENED) if of_kernel else (_DENSE, _WIDENED)
    return mean_channels(geometry, inputs, outputs) >= least[widening(geometry) > 1]


def many_channels(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether channels are so many that one matrix product is faster than a convolution, although it takes copies of the images as every tap sees them.

    Measured on two cores, 4x4 kernels: 1.1 to 2.5 times faster, most for the fewest pixels. The last condition bounds the memory, in bytes.
    """
    depth = prod(geometry.kernel_size) * inputs
    return depth >= 4096 and outputs >= 256 and 4 * depth * pixels(geometry, batch) <= 64 << 20


def many_inputs(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether the gradient of the kernel is better made by a matrix product for each tap, of copies of x that fit each.

    Measured on two cores, 3x3 and 4x4 kernels: 0.9 to 1.9 times faster, mostly 1.2, and the result is in the right order at once. The last condition bounds
    the memory, in bytes.
    """
    count = batch * prod(geometry.output_size) if isinstance(batch, int) else 1 << 30
    return (
        inputs >= 128
        and count <= 16 * outputs
        and 4 * prod(geometry.kernel_size) * count * inputs <= 64 << 20
    )


def crossing_pays(geometry: Geometry, batch: Any, inputs: int, outputs: int) -> bool:
    """Whether the gradient of the kernel is best made by `_kernel_gradient_crossed`: there are enough channels, but not yet enough for `winograd_pays`.

    Measured on two cores, 3x3 kernels: 2 to 3 times faster than the next form with up to 32 channels, 1.1 times with 64, but slower in images below 16x16;
    4x4 ones of stride 2: up to 2 times with the 3 channels of images, 1.05 times with 64.
    """
    fitting = (geometry.kernel_size, geometry.strides) in (
        ((3, 3), (1, 1)),
        ((4, 4), (2, 2)),
    ) and min(geometry.output_size) >= 16
    return (
        fitting
        and mean_channels(geometry, inputs, outputs) >= _CROSSED
        and not winograd_pays(geometry, batch, inputs, outputs, of_kernel=True)
    )


def pixels(geometry: Geometry, batch: Any) -> int:
    """Of all outputs; of one image where the batch is any number, as in a program that is exported."""
    return prod(geometry.output_size) * (batch if isinstance(batch, int) else 1)
