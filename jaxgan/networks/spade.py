"""SPADE's networks: a generator whose norms are told the layout pixel by pixel, a critic at several scales, a style encoder (Park et al. 2019).

Shapes: B images, H and W their sides, S the planes of the layout (classes, unknown, instance edges), Z the length of a style.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_choice, require_range
from jaxgan.nn.channels import apart
from jaxgan.nn.conv import Symbols, conv2d, conv2d_of_symbols
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import BatchNorm, InstanceNorm, per_channel
from jaxgan.nn.padding import require_sides
from jaxgan.nn.resample import overlapping_average_pool, upsample_nearest
from jaxgan.nn.spectral import spectrally_normalised

Judgement = tuple[jax.Array, list[jax.Array]]
UPSAMPLINGS = {"normal": 0, "more": 1, "most": 2}
"""Setting -> up-steps beyond those of the first block and of `up_blocks`."""

xavier_normal = nn.initializers.variance_scaling(0.02**2, "fan_avg", "normal")
"""Xavier's normal distribution with gain 0.02."""


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.2."""
    return nn.leaky_relu(x, 0.2)


# ----------------------------------------------------------------------------------------------------------------- generator


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
    def __call__(self, x: jax.Array, maps: jax.Array, train: bool, mix: jax.Array | None = None) -> jax.Array:
        """maps: [B, h, w, hidden], what the first layer made of the layout. mix: [C, F], of the 1x1 convolution that follows, if one does.

        What the mixture makes of beta it makes of beta's kernel: with F smaller than C fewer products, the same sum.
        """
        doubled = maps.shape[1] == 2 * x.shape[1]
        normalised = BatchNorm(self.axis_name, affine=False, copies=4 if doubled else 1, dtype=self.dtype, name="norm")(x, train)
        normalised = upsample_nearest(normalised) if doubled else normalised
        layers = [_Parameters(x.shape[-1], name="gamma")(maps), _Parameters(x.shape[-1], self.beta_bias, name="beta")(maps)]
        if mix is not None:
            layers[1] = (layers[1][0] @ mix, layers[1][1] @ mix)
        gamma, beta = _side_by_side(maps, layers)
        y = normalised * (1 + gamma)
        return (y if mix is None else conv2d(y, mix.astype(y.dtype)[None, None])) + beta


def hidden_maps(norms: Sequence[SPADE], layout: jax.Array, size: tuple[int, int], symbols: Symbols | None = None) -> list[jax.Array]:
    """What the first layer of each norm makes of a layout [B, H, W, S] for features of `size` (h, w): [B, h, w, hidden]."""
    rows, columns = (full // small for full, small in zip(layout.shape[1:3], size, strict=True))
    small = layout[:, ::rows, ::columns]
    symbols = None if symbols is None else symbols._replace(numbers=symbols.numbers[:, ::rows, ::columns])
    return [_kept_relu(maps) for maps in _side_by_side(small, [norm.first_layer(small) for norm in norms], symbols)]


@jax.custom_vjp
def _kept_relu(x: jax.Array) -> jax.Array:
    """ReLU, made and kept before it is read, also by its own gradient: or a CPU would look up in each reader what `conv2d_of_symbols` makes."""
    return jax.lax.optimization_barrier(nn.relu(x))


def _kept_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = _kept_relu(x)
    return y, y


_kept_relu.defvjp(_kept_relu_forward, lambda y, g: (jnp.where(y > 0, g, 0),))


def _side_by_side(x: jax.Array, layers: Sequence[tuple[jax.Array, jax.Array]], symbols: Symbols | None = None) -> list[jax.Array]:
    """3x3 convolutions of the same x with kernels and biases: as one, which a CPU runs faster than several, unless it can look them up."""
    layers = [(kernel.astype(x.dtype), bias.astype(x.dtype)) for kernel, bias in layers]
    if symbols is not None:
        return conv2d_of_symbols(x, layers, symbols, 1, 1)
    kernels, biases = zip(*layers, strict=True)
    made = conv2d(x, jnp.concatenate(kernels, axis=-1), 1, 1) + per_channel(jnp.concatenate(biases), x.ndim)
    return apart(made, [len(bias) for bias in biases])


class _Parameters(nn.Module):
    """Kernel and bias (zeros without) of a 3x3 convolution of x [B, h, w, I]."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", xavier_normal, (3, 3, x.shape[-1], self.features), jnp.float32)
        zeros = nn.initializers.zeros
        return kernel, self.param("bias", zeros, (self.features,), jnp.float32) if self.use_bias else jnp.zeros((self.features,))


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
    def __call__(self, x: jax.Array, layout: jax.Array, train: bool, symbols: Symbols | None = None, double: bool = False) -> jax.Array:
        norm = partial(SPADE, self.hidden, axis_name=self.axis_name, dtype=self.dtype)
        options = {"kernel_init": xavier_normal, "spectral_norm": True, "eval_iterations": self.eval_iterations, "dtype": self.dtype}
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
            x = norms[2](x, maps[2], train, _Mixture(self.features, self.eval_iterations, name="shortcut")(x.shape[-1], train))
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


class SPADEGenerator(nn.Module):
    """A layout [B, H, W, S] (and styles [B, Z]) -> images [B, H, W, channels] in [-1, 1], float32. H and W are multiples of `multiple`.

    Begins small, with a 3x3 convolution of the layout, or with `latent_size` with a linear map of the style; a block there, two after a first doubling,
    and `up_blocks` blocks, each after a doubling and of half the width; leaky ReLU, a 3x3 convolution, tanh. "more" doubles once more between
    the two middle blocks; "most" also at the end, followed by a block of half of `width`.
    Source: NVlabs/SPADE, whose `up_blocks` are always 4. Deviation: see `SPADEBlock`.

    Raises ValueError for other sides, with styles for any other size than `image_size`, and for unknown settings.
    """

    channels: int = 3
    width: int = 64
    """Feature maps of the last of `up_blocks`; 2^up_blocks times as many at the beginning."""
    up_blocks: int = 4
    upsampling: str = "normal"
    """"normal", "more" or "most"."""
    latent_size: int = 0
    """Length Z of a style; 0 for none."""
    image_size: tuple[int, int] = (256, 256)
    """With styles: the height and width that the first layer is made for."""
    hidden: int = 128
    """Feature maps inside each SPADE."""
    eval_iterations: int = 0
    """Power iterations at evaluation; see `spectrally_normalised`."""
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def steps(self) -> int:
        """How often sizes are doubled."""
        return 1 + self.up_blocks + UPSAMPLINGS[self.upsampling]

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 1 << self.steps

    @nn.compact
    def __call__(self, layout: jax.Array, latents: jax.Array | None = None, symbols: Symbols | None = None, *, train: bool) -> jax.Array:
        """latents: [B, Z]; None for zeros, the mean style. symbols: of the layout, which a CPU is faster with."""
        require_choice("upsampling", self.upsampling, UPSAMPLINGS)
        require_range("up_blocks", self.up_blocks, 1)
        require(self.upsampling != "most" or self.width > 1, "upsampling 'most' halves the width, which must be at least 2")
        require_sides(type(self).__name__, layout, self.multiple)
        block = partial(SPADEBlock, hidden=self.hidden, eval_iterations=self.eval_iterations, axis_name=self.axis_name, dtype=self.dtype)
        layout, widest, most = layout.astype(self.dtype), self.width << self.up_blocks, self.upsampling == "most"

        x = block(widest, name="head")(self._start(layout, latents, widest), layout, train, symbols)
        x = block(widest, name="middle0")(x, layout, train, symbols, double=True)
        x = block(widest, name="middle1")(x, layout, train, symbols, double=self.upsampling != "normal")
        for i in range(self.up_blocks):
            last = i == self.up_blocks - 1 and not most
            x = block(widest >> (i + 1), last=last, name=f"up{i}")(x, layout, train, symbols, double=True)
        if most:
            x = block(self.width // 2, last=True, name=f"up{self.up_blocks}")(x, layout, train, symbols, double=True)
        x = Conv(self.channels, 3, 1, 1, kernel_init=xavier_normal, dtype=self.dtype, name="output")(leaky_relu(x))
        return jnp.tanh(x.astype(jnp.float32))

    def _start(self, layout: jax.Array, latents: jax.Array | None, features: int) -> jax.Array:
        """The first feature map [B, H / multiple, W / multiple, features]."""
        batch, height, width = layout.shape[:3]
        if not self.latent_size:
            small = layout[:, :: self.multiple, :: self.multiple]
            return Conv(features, 3, 1, 1, use_bias=False, kernel_init=xavier_normal, dtype=self.dtype, name="input")(small)
        made_for = f"{self.image_size[0]} x {self.image_size[1]}"
        require((height, width) == tuple(self.image_size), f"this generator with styles is made for images of {made_for}, got {height} x {width}")
        latents = jnp.zeros((batch, self.latent_size)) if latents is None else latents
        rows, columns = height // self.multiple, width // self.multiple
        x = Dense(rows * columns * features, kernel_init=xavier_normal, dtype=self.dtype, name="input")(latents)
        return x.reshape(batch, rows, columns, features)


# ------------------------------------------------------------------------------------------------------------- discriminator


class MultiscaleDiscriminator(nn.Module):
    """Layouts and images [B, H, W, S + C] -> for each scale the logits [B, h, w], float32, and the feature maps after each activation.

    One critic of patches sees the images as they are, the next ones sees them halved by overlapping averages, and so on. Each: `layers` 4x4
    convolutions of stride 2 and one of stride 1 (width, 2, 4, ... times width feature maps, at most 512), leaky ReLU 0.2, spectral norm and instance
    norm on all but the first; one more to the logits.
    Source: NVlabs/SPADE, after pix2pixHD (Wang et al. 2018). Deviation: none.
    """

    width: int = 64
    layers: int = 3
    scales: int = 2
    eval_iterations: int = 0
    """Power iterations at evaluation; see `spectrally_normalised`."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        keys: jax.Array | None = None,
        *,
        layout: jax.Array | None = None,
        symbols: Symbols | None = None,
        train: bool,
    ) -> list[Judgement]:
        """keys are not used; a training pass makes a power iteration.

        layout: [B / n, H, W, S], each for n images in turn, which then have C channels only; faster than planes in every image. symbols: of the layout,
        which a CPU is faster with.
        """
        require_range("layers", self.layers, 1)
        require_range("scales", self.scales, 1)
        require_sides(type(self).__name__, images, 1)
        shown, judgements = [part.astype(self.dtype) for part in (images, layout) if part is not None], []
        for i in range(self.scales):
            shown = [overlapping_average_pool(part) for part in shown] if i else shown
            critic = PatchCritic(self.width, self.layers, self.eval_iterations, self.dtype, name=f"scale{i}")
            judgements.append(critic(*shown, symbols=None if i else symbols, train=train))
        return judgements


class PatchCritic(nn.Module):
    """One scale of `MultiscaleDiscriminator`: [B, H, W, S + C], or both apart, -> logits [B, h, w] and feature maps."""

    width: int
    layers: int
    eval_iterations: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, layout: jax.Array | None = None, *, symbols: Symbols | None, train: bool) -> Judgement:
        conv = partial(Conv, kernel_size=4, padding=2, kernel_init=xavier_normal, dtype=self.dtype)
        normed = partial(conv, use_bias=False, spectral_norm=True, eval_iterations=self.eval_iterations)
        x = leaky_relu(_FirstConv(self.width, name="conv0")(x, layout, symbols))
        maps = [x]
        for i in range(1, self.layers + 1):
            x = normed(min(self.width << i, 512), strides=2 if i < self.layers else 1, name=f"conv{i}")(x, train)
            x = leaky_relu(InstanceNorm(dtype=self.dtype, name=f"norm{i}")(x))
            maps.append(x)
        return conv(1, name="output")(x)[..., 0].astype(jnp.float32), maps


class _FirstConv(nn.Module):
    """4x4 convolution of stride 2: of images with planes, or of layouts [B / n, H, W, S] and images [B, H, W, C], n in turn for each layout, apart.

    A convolution of both beside each other is the sum of one of each; that of a layout is made once for its n images.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, layout: jax.Array | None, symbols: Symbols | None) -> jax.Array:
        planes = 0 if layout is None else layout.shape[-1]
        kernel = self.param("kernel", xavier_normal, (4, 4, planes + x.shape[-1], self.features), jnp.float32).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(x.dtype)
        y, of_layout = conv2d(x, kernel[:, :, planes:], 2, 2), kernel[:, :, :planes]
        if layout is None:
            return y + per_channel(bias, y.ndim)
        if symbols is None:
            told = conv2d(layout, of_layout, 2, 2) + per_channel(bias, y.ndim)
        else:
            told = jax.lax.optimization_barrier(conv2d_of_symbols(layout, [(of_layout, bias)], symbols, 2, 2)[0])
        return (y.reshape(len(layout), -1, *y.shape[1:]) + told[:, None]).reshape(y.shape)


# ------------------------------------------------------------------------------------------------------------------- encoder


class StyleEncoder(nn.Module):
    """Images [B, H, W, C] of any size -> mean and log variance of their styles, each float32 [B, latent_size].

    Resized to 4 * 2^layers pixels either way, bilinearly; `layers` 3x3 convolutions of stride 2 (width, 2, 4, 8, 8, ... times width feature maps) with
    spectral norm, instance norm and leaky ReLU 0.2; two linear maps of the 4x4 pixels that remain.
    Source: NVlabs/SPADE, whose `layers` are 6. Deviation: none.
    """

    latent_size: int = 256
    width: int = 64
    layers: int = 6
    eval_iterations: int = 0
    """Power iterations at evaluation; see `spectrally_normalised`."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, keys: jax.Array | None = None, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """keys are not used; a training pass makes a power iteration."""
        require_range("layers", self.layers, 1)
        require_sides(type(self).__name__, images, 1)
        side = 4 << self.layers
        x = images.astype(jnp.float32)
        if x.shape[1:3] != (side, side):
            x = jax.image.resize(x, (x.shape[0], side, side, x.shape[3]), "bilinear", antialias=False)
        x = x.astype(self.dtype)
        conv = partial(Conv, kernel_size=3, strides=2, padding=1, use_bias=False, kernel_init=xavier_normal, spectral_norm=True, dtype=self.dtype)
        for i in range(self.layers):
            x = conv(self.width * min(2**i, 8), eval_iterations=self.eval_iterations, name=f"conv{i}")(x, train)
            x = leaky_relu(InstanceNorm(dtype=self.dtype, name=f"norm{i}")(x))
        x = x.reshape(x.shape[0], -1)
        dense = partial(Dense, self.latent_size, kernel_init=xavier_normal, dtype=self.dtype)
        return dense(name="mean")(x).astype(jnp.float32), dense(name="log_variance")(x).astype(jnp.float32)
