"""The U-Net of Pix2Pix (Isola et al. 2017): an encoder to a few pixels and a decoder that sees the encoder's feature maps of its size."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import require_choice, require_range
from jaxgan.networks.dcgan import dcgan_normal, dcgan_scale
from jaxgan.nn.channels import beside
from jaxgan.nn.layers import Conv, ConvTranspose
from jaxgan.nn.norm import norm_layer
from jaxgan.nn.padding import reflection_pad, require_sides
from jaxgan.nn.regularise import dropout
from jaxgan.nn.resample import upsample_nearest


class UNet(nn.Module):
    """Images [B, H, W, C] in [-1, 1] -> images [B, H, W, channels] in [-1, 1], float32. H and W are multiples of 2**depth, any size is taken.

    `depth` 4x4 convolutions of stride 2 (width, 2, 4, 8, 8, ... times width feature maps), each after a leaky ReLU but the first, and as many
    transposed ones, each after a ReLU; a norm after all but the first and last layer and the innermost convolution, which sees 1x1 images. What
    a decoder layer makes is appended to the encoder's feature maps of the same size. tanh at the end.
    Source: junyanz's UnetGenerator, where depth is at least 5. Deviation: no bias in front of an instance norm, which would remove it.

    Raises ValueError for other sides, and for unknown settings.
    """

    channels: int
    width: int = 64
    depth: int = 8
    norm: str = "batch"
    """"batch", "instance" or "none"."""
    dropout: float = 0.5
    """After the norm, where keys are given; in the decoder layers that `dropout_layers` says."""
    dropout_layers: str = "paper"
    """"paper": the three innermost (but never the outermost); "port": as in its PyTorch port, the depth - 5 that follow the innermost."""
    upsampling: str = "transposed"
    """"transposed": 4x4 transposed convolutions; "resize": nearest neighbours and a 3x3 convolution, against checkerboards (Odena et al. 2016)."""
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """What both sides of the images must be multiples of."""
        return 2**self.depth

    @nn.compact
    def __call__(
        self, images: jax.Array, keys: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """keys: one per example [B], not consumed, for dropout, in training or not; None: without dropout. train: batch norm uses the batch's statistics."""
        require_range("depth", self.depth, 2)
        require_choice("dropout_layers", self.dropout_layers, ("paper", "port"))
        require_choice("upsampling", self.upsampling, ("transposed", "resize"))
        require_sides("UNet", images, self.multiple)
        norm = partial(
            norm_layer,
            self.norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            scale_init=dcgan_scale,
        )
        innermost = self.depth - 1
        dropped = range(3) if self.dropout_layers == "paper" else range(1, self.depth - 4)
        widths = [self.width * min(2**i, 8) for i in range(self.depth)]
        # With batch norm the reference leaves the bias out even where no norm follows.
        plain_bias, normed_bias = self.norm != "batch", self.norm == "none"

        x, skips = images.astype(self.dtype), []
        for i in range(self.depth):
            normed = 0 < i < innermost
            bias = normed_bias if normed else plain_bias
            x = Conv(widths[i], 4, 2, 1, bias, dcgan_normal, dtype=self.dtype, name=f"down{i}")(
                nn.leaky_relu(x, 0.2) if i else x
            )
            x = norm(f"down_norm{i}")(x, train) if normed else x
            skips.append(x)

        for i in reversed(range(self.depth)):
            x = nn.relu(x if i == innermost else beside([skips[i], x]))
            x = self._up(
                x, widths[i - 1] if i else self.channels, normed_bias if i else True, f"up{i}"
            )
            if i:
                x = norm(f"up_norm{i}")(x, train)
                x = dropout(x, self.dropout if innermost - i in dropped else 0.0, keys, f"up{i}")
        return jnp.tanh(x.astype(jnp.float32))

    def _up(self, x: jax.Array, features: int, bias: bool, name: str) -> jax.Array:
        """[B, h, w, I] -> [B, 2 h, 2 w, features]."""
        if self.upsampling == "transposed":
            return ConvTranspose(
                features, 4, 2, 1, 0, bias, dcgan_normal, dtype=self.dtype, name=name
            )(x)
        return Conv(features, 3, 1, 0, bias, dcgan_normal, dtype=self.dtype, name=name)(
            reflection_pad(upsample_nearest(x), 1)
        )
