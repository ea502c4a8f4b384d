"""Convolutions that are fast on every backend and at every order of differentiation: the one door to them."""

from jaxgan.nn.convolution.conv import (
    SCOPE,
    Symbols,
    conv2d,
    conv2d_beside,
    conv2d_of_symbols,
    conv_transpose2d,
)

__all__ = [
    "SCOPE",
    "Symbols",
    "conv2d",
    "conv2d_beside",
    "conv2d_of_symbols",
    "conv_transpose2d",
]
