"""SPADE's norm, told a layout, and the residual block made of it.

Shapes: B examples, H, W the layout's size, S its planes, h, w that of the features, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nn import initialisers
from jaxgan.nn.convolution import Symbols, conv2d, conv2d_beside, conv2d_of_symbols
from jaxgan.nn.layers import Conv
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.resample import upsample_nearest
from jaxgan.nn.spectral import spectrally_normalised

xavier_normal = initialisers.scaled(0.02**2, "fan_avg", "normal")
"""Xavier's normal distribution with gain 0.02."""


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.2."""
    return nn.leaky_relu(x, 0.2)


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: x [B, h, w, C], told the layout by `hidden_maps` -> [B, h, w, C], or mixed by a 1x1 convolution [B, h, w, F].

    Batch norm, over all devices, without gain and bias; then a gain 1 + gamma and a bias beta for every pixel and channel, by two layers of 3x3
    convolutions from the layout, of which every H/h-th row and W/w-th column is looked at. Where the maps are twice as large as x, its pixels are repeated
    twice either way, after the norm, which sees no difference.
    Source: Park et al. 2019, eq. 1 and fig. 3; NVlabs/SPADE. Deviation: none.
    """

    hidden: int = 128
    """Feature maps between the two layers."""
    beta_bias: bool = True
    """False where beta's constant part would be removed by a later norm."""
    axis_name: str | None = None
    dtype: Any = jnp.float32

    def setup(self):
        self.shared = _Parameters(self.hidden)

    def first_layer(self, layout: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Kernel and bias of the first layer."""
        return self.shared(layout)

    @nn.compact
    def __call__(
        self, x: jax.Array, maps: jax.Array, train: bool, mix: jax.Array | None = None
    ) -> jax.Array:
        """maps: [B, h, w, hidden], what the first layer made of the layout. mix: [C, F], of the 1x1 convolution that follows, if one does.

        What the mixture makes of beta it makes of beta's kernel: with F smaller than C fewer products, the same sum.
        """
        doubled = maps.shape[1] == 2 * x.shape[1]
        normalised = BatchNorm(
            self.axis_name, affine=False, copies=4 if doubled else 1, dtype=self.dtype, name="norm"
        )(x, train)
        normalised = upsample_nearest(normalised) if doubled else normalised
        layers = [
            _Parameters(x.shape[-1], name="gamma")(maps),
            _Parameters(x.shape[-1], self.beta_bias, name="beta")(maps),
        ]
        if mix is not None:
            layers[1] = (layers[1][0] @ mix, layers[1][1] @ mix)
        gamma, beta = _side_by_side(maps, layers)
        y = normalised * (1 + gamma)
        return (y if mix is None else conv2d(y, mix.astype(y.dtype)[None, None])) + beta


def hidden_maps(
    norms: Sequence[SPADE], layout: jax.Array, size: tuple[int, int], symbols: Symbols | None = None
) -> list[jax.Array]:
    """What the first layer of each norm makes of a layout [B, H, W, S] for features of `size` (h, w): [B, h, w, hidden]."""
    rows, columns = (full // small for full, small in zip(layout.shape[1:3], size, strict=True))
    small = layout[:, ::rows, ::columns]
    symbols = (
        None if symbols is None else symbols._replace(numbers=symbols.numbers[:, ::rows, ::columns])
    )
    return [
        _kept_relu(maps)
        for maps in _side_by_side(small, [norm.first_layer(small) for norm in norms], symbols)
    ]


@jax.custom_vjp
def _kept_relu(x: jax.Array) -> jax.Array:
    """ReLU, made and kept before it is read, also by its own gradient: or a CPU would look up in each reader what `conv2d_of_symbols` makes."""
    return jax.lax.optimization_barrier(nn.relu(x))


def _kept_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = _kept_relu(x)
    return y, y


_kept_relu.defvjp(_kept_relu_forward, lambda y, g: (jnp.where(y > 0, g, 0),))


def _side_by_side(
    x: jax.Array, layers: Sequence[tuple[jax.Array, jax.Array]], symbols: Symbols | None = None
) -> list[jax.Array]:
    """3x3 convolutions of the same x, with biases, in its dtype."""
    layers = [(kernel.astype(x.dtype), bias.astype(x.dtype)) for kernel, bias in layers]
    return (
        conv2d_beside(x, layers, 1, 1)
        if symbols is None
        else conv2d_of_symbols(x, layers, symbols, 1, 1)
    )


class _Parameters(nn.Module):
    """Kernel and bias (zeros without) of a 3x3 convolution of x [B, h, w, I]."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel = self.param(
            "kernel", xavier_normal, (3, 3, x.shape[-1], self.features), jnp.float32
        )
        zeros = nn.initializers.zeros
        return kernel, self.param(
            "bias", zeros, (self.features,), jnp.float32
        ) if self.use_bias else jnp.zeros((self.features,), jnp.float32)


class SPADEBlock(nn.Module):
    """Residual block: x [B, h, w, C], doubled first with `double`, and a layout [B, H, W, S] -> [B, h, w, features].

    Twice SPADE, leaky ReLU and a 3x3 convolution, through the smaller of both widths; where these differ, the shortcut is SPADE and a 1x1
    convolution. Spectral norm on these convolutions.
    Source: Park et al. 2019, fig. 4; NVlabs/SPADE. Deviation: no constant is added (by a bias, or by beta in the shortcut) that a later norm removes.
    """

    features: int
    hidden: int = 128
    last: bool = False
    """No norm follows, so that constants count."""
    eval_iterations: int = 0
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        layout: jax.Array,
        train: bool,
        symbols: Symbols | None = None,
        double: bool = False,
    ) -> jax.Array:
        norm = partial(SPADE, self.hidden, axis_name=self.axis_name, dtype=self.dtype)
        options = {
            "kernel_init": xavier_normal,
            "spectral_norm": True,
            "eval_iterations": self.eval_iterations,
            "dtype": self.dtype,
        }
        middle = min(x.shape[-1], self.features)
        norms = [norm(name="norm0"), norm(name="norm1")]
        if x.shape[-1] != self.features:
            norms.append(norm(beta_bias=self.last, name="shortcut_norm"))
        scale = 2 if double else 1
        maps = hidden_maps(norms, layout, (scale * x.shape[1], scale * x.shape[2]), symbols)
        y = leaky_relu(norms[0](x, maps[0], train))
        y = Conv(middle, 3, 1, 1, use_bias=False, **options, name="conv0")(y, train)
        y = leaky_relu(norms[1](y, maps[1], train))
        y = Conv(self.features, 3, 1, 1, use_bias=self.last, **options, name="conv1")(y, train)
        if x.shape[-1] != self.features:
            x = norms[2](
                x,
                maps[2],
                train,
                _Mixture(self.features, self.eval_iterations, name="shortcut")(x.shape[-1], train),
            )
        elif double:
            x = upsample_nearest(x)
        return x + y


class _Mixture(nn.Module):
    """[inputs, features] of a 1x1 convolution with spectral norm."""

    features: int
    eval_iterations: int

    @nn.compact
    def __call__(self, inputs: int, train: bool) -> jax.Array:
        kernel = self.param("kernel", xavier_normal, (1, 1, inputs, self.features), jnp.float32)
        return spectrally_normalised(self, kernel, train, self.eval_iterations)[0, 0]
