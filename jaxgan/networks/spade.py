"""SPADE's networks: a generator whose norms are told the layout pixel by pixel, a critic at several scales, a style encoder (Park et al. 2019).

Shapes: B images, H and W their sides, S the planes of the layout (classes, unknown, instance edges), Z the length of a style.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require, require_choice, require_range
from jaxgan.networks.spade_block import SPADEBlock, leaky_relu, xavier_normal
from jaxgan.nn.convolution import Symbols, conv2d, conv2d_of_symbols
from jaxgan.nn.layers import Conv, Dense
from jaxgan.nn.norm import InstanceNorm, per_channel
from jaxgan.nn.padding import require_sides
from jaxgan.nn.resample import overlapping_average_pool

Judgement = tuple[jax.Array, list[jax.Array]]
UPSAMPLINGS = {"normal": 0, "more": 1, "most": 2}
"""Setting -> up-steps beyond those of the first block and of `up_blocks`."""


# ----------------------------------------------------------------------------------------------------------------- generator


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
    def __call__(
        self,
        layout: jax.Array,
        latents: jax.Array | None = None,
        symbols: Symbols | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        """latents: [B, Z]; None for zeros, the mean style. symbols: of the layout, which a CPU is faster with."""
        require_choice("upsampling", self.upsampling, UPSAMPLINGS)
        require_range("up_blocks", self.up_blocks, 1)
        require(
            self.upsampling != "most" or self.width > 1,
            "upsampling 'most' halves the width, which must be at least 2",
        )
        require_sides(type(self).__name__, layout, self.multiple)
        block = partial(
            SPADEBlock,
            hidden=self.hidden,
            eval_iterations=self.eval_iterations,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        layout, widest, most = (
            layout.astype(self.dtype),
            self.width << self.up_blocks,
            self.upsampling == "most",
        )

        x = block(widest, name="head")(self._start(layout, latents, widest), layout, train, symbols)
        x = block(widest, name="middle0")(x, layout, train, symbols, double=True)
        x = block(widest, name="middle1")(
            x, layout, train, symbols, double=self.upsampling != "normal"
        )
        for i in range(self.up_blocks):
            last = i == self.up_blocks - 1 and not most
            x = block(widest >> (i + 1), last=last, name=f"up{i}")(
                x, layout, train, symbols, double=True
            )
        if most:
            x = block(self.width // 2, last=True, name=f"up{self.up_blocks}")(
                x, layout, train, symbols, double=True
            )
        x = Conv(
            self.channels, 3, 1, 1, kernel_init=xavier_normal, dtype=self.dtype, name="output"
        )(leaky_relu(x))
        return jnp.tanh(x.astype(jnp.float32))

    def _start(self, layout: jax.Array, latents: jax.Array | None, features: int) -> jax.Array:
        """The first feature map [B, H / multiple, W / multiple, features]."""
        batch, height, width = layout.shape[:3]
        if not self.latent_size:
            small = layout[:, :: self.multiple, :: self.multiple]
            return Conv(
                features,
                3,
                1,
                1,
                use_bias=False,
                kernel_init=xavier_normal,
                dtype=self.dtype,
                name="input",
            )(small)
        made_for = f"{self.image_size[0]} x {self.image_size[1]}"
        require(
            (height, width) == tuple(self.image_size),
            f"this generator with styles is made for images of {made_for}, got {height} x {width}",
        )
        latents = jnp.zeros((batch, self.latent_size), jnp.float32) if latents is None else latents
        rows, columns = height // self.multiple, width // self.multiple
        x = Dense(
            rows * columns * features, kernel_init=xavier_normal, dtype=self.dtype, name="input"
        )(latents)
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
        shown, judgements = (
            [part.astype(self.dtype) for part in (images, layout) if part is not None],
            [],
        )
        for i in range(self.scales):
            shown = [overlapping_average_pool(part) for part in shown] if i else shown
            critic = PatchCritic(
                self.width, self.layers, self.eval_iterations, self.dtype, name=f"scale{i}"
            )
            judgements.append(critic(*shown, symbols=None if i else symbols, train=train))
        return judgements


class PatchCritic(nn.Module):
    """One scale of `MultiscaleDiscriminator`: [B, H, W, S + C], or both apart, -> logits [B, h, w] and feature maps."""

    width: int
    layers: int
    eval_iterations: int
    dtype: Any

    @nn.compact
    def __call__(
        self, x: jax.Array, layout: jax.Array | None = None, *, symbols: Symbols | None, train: bool
    ) -> Judgement:
        conv = partial(Conv, kernel_size=4, padding=2, kernel_init=xavier_normal, dtype=self.dtype)
        normed = partial(
            conv, use_bias=False, spectral_norm=True, eval_iterations=self.eval_iterations
        )
        x = leaky_relu(_FirstConv(self.width, name="conv0")(x, layout, symbols))
        maps = [x]
        for i in range(1, self.layers + 1):
            x = normed(
                min(self.width << i, 512), strides=2 if i < self.layers else 1, name=f"conv{i}"
            )(x, train)
            x = leaky_relu(InstanceNorm(dtype=self.dtype, name=f"norm{i}")(x))
            maps.append(x)
        return conv(1, name="output")(x)[..., 0].astype(jnp.float32), maps


class _FirstConv(nn.Module):
    """4x4 convolution of stride 2: of images with planes, or of layouts [B / n, H, W, S] and images [B, H, W, C], n in turn for each layout, apart.

    A convolution of both beside each other is the sum of one of each; that of a layout is made once for its n images.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: jax.Array, layout: jax.Array | None, symbols: Symbols | None
    ) -> jax.Array:
        planes = 0 if layout is None else layout.shape[-1]
        kernel = self.param(
            "kernel", xavier_normal, (4, 4, planes + x.shape[-1], self.features), jnp.float32
        ).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(
            x.dtype
        )
        y, of_layout = conv2d(x, kernel[:, :, planes:], 2, 2), kernel[:, :, :planes]
        if layout is None:
            return y + per_channel(bias, y.ndim)
        if symbols is None:
            told = conv2d(layout, of_layout, 2, 2) + per_channel(bias, y.ndim)
        else:
            told = jax.lax.optimization_barrier(
                conv2d_of_symbols(layout, [(of_layout, bias)], symbols, 2, 2)[0]
            )
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
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """keys are not used; a training pass makes a power iteration."""
        require_range("layers", self.layers, 1)
        require_sides(type(self).__name__, images, 1)
        side = 4 << self.layers
        x = images.astype(jnp.float32)
        if x.shape[1:3] != (side, side):
            x = jax.image.resize(
                x, (x.shape[0], side, side, x.shape[3]), "bilinear", antialias=False
            )
        x = x.astype(self.dtype)
        conv = partial(
            Conv,
            kernel_size=3,
            strides=2,
            padding=1,
            use_bias=False,
            kernel_init=xavier_normal,
            spectral_norm=True,
            dtype=self.dtype,
        )
        for i in range(self.layers):
            x = conv(
                self.width * min(2**i, 8), eval_iterations=self.eval_iterations, name=f"conv{i}"
            )(x, train)
            x = leaky_relu(InstanceNorm(dtype=self.dtype, name=f"norm{i}")(x))
        x = x.reshape(x.shape[0], -1)
        dense = partial(Dense, self.latent_size, kernel_init=xavier_normal, dtype=self.dtype)
        return dense(name="mean")(x).astype(jnp.float32), dense(name="log_variance")(x).astype(
            jnp.float32
        )
