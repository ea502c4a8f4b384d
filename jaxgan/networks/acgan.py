"""The networks of the auxiliary-classifier GAN (Odena et al. 2016), CIFAR-10 table."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import is_number, require
from jaxgan.networks.dcgan import dcgan_normal, dcgan_scale
from jaxgan.nn.labels import one_hot
from jaxgan.nn.layers import Conv, ConvTranspose, Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.regularise import add_noise, dropout


def halvings_to_base(image_size: tuple[int, int]) -> int:
    """Doublings from the generator's base to `image_size`: 3, or 2 where the sides are multiples of 4 only (28). Raises ValueError otherwise."""
    for count in (3, 2):
        if all(side % 2**count == 0 and side >> count >= 3 for side in image_size):
            return count
    require(False, f"image_size must be multiples of 4 and at least 12, got {image_size}")
    return 0


class ACGANGenerator(nn.Module):
    """Latents [B, Z] and labels int32 [B] -> images [B, H, W, C] in [-1, 1], float32.

    The one-hot label is appended to the latents; a linear layer to the base, then 5x5 transposed convolutions of stride 2 with batch norm.
    """

    image_shape: tuple[int, int, int]
    classes: int
    widths: tuple[int, ...] = (384, 192, 96)
    """Feature maps of the base and after each doubling but the last; one fewer is used where the image is doubled twice only."""
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, latents: jax.Array, labels: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        height, width, channels = self.image_shape
        count = halvings_to_base((height, width))
        base = (height >> count, width >> count)
        widths = self.widths[-count:]
        x = jnp.concatenate([latents, one_hot(labels, self.classes)], axis=-1)
        x = Dense(
            base[0] * base[1] * widths[0], kernel_init=dcgan_normal, dtype=self.dtype, name="input"
        )(x)
        x = nn.relu(x.reshape(-1, *base, widths[0]))
        for i, features in enumerate((*widths[1:], channels)):
            last = i == count - 1
            up = ConvTranspose(
                features,
                5,
                2,
                2,
                1,
                use_bias=last,
                kernel_init=dcgan_normal,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = up(x)
            if not last:
                x = nn.relu(
                    BatchNorm(
                        self.axis_name, scale_init=dcgan_scale, dtype=self.dtype, name=f"norm{i}"
                    )(x, train)
                )
        return jnp.tanh(x.astype(jnp.float32))


class ACGANDiscriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B] and class logits [B, classes], float32. The labels are not looked at.

    Six 3x3 convolutions of strides 2, 1, 2, 1, 2, 1, batch norm from the second (left out with `spectral_norm`), leaky ReLU, dropout 0.5, and
    Gaussian noise on the image.
    """

    classes: int
    widths: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    dropout_rate: float = 0.5
    input_noise: float = 0.0
    """Standard deviation of the noise on the image; the paper searched 0, 0.1, 0.2."""
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        *,
        train: bool,
    ) -> tuple[jax.Array, jax.Array]:
        keys = keys if train else None
        x = images
        if keys is not None and not (is_number(self.input_noise) and self.input_noise == 0):
            x = add_noise(x, self.input_noise, keys, "input")
        for i, features in enumerate(self.widths):
            normed = i > 0 and not self.spectral_norm
            x = Conv(
                features,
                3,
                2 - i % 2,
                1,
                not normed,
                dcgan_normal,
                spectral_norm=self.spectral_norm,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x, train)
            if normed:
                x = BatchNorm(
                    self.axis_name, scale_init=dcgan_scale, dtype=self.dtype, name=f"norm{i}"
                )(x, train)
            x = dropout(nn.leaky_relu(x, 0.2), self.dropout_rate, keys, f"conv{i}")
        x = x.reshape(x.shape[0], -1)

        def head(features: int, name: str) -> jax.Array:
            dense = Dense(
                features, True, dcgan_normal, self.spectral_norm, dtype=self.dtype, name=name
            )
            return dense(x, train).astype(jnp.float32)

        return head(1, "output")[:, 0], head(self.classes, "class_output")
