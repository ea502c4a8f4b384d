"""Changing the size of feature maps [B, H, W, C] by factors of two."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.errors import require_choice


def upsample_nearest(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], every pixel repeated. Broadcasting: far faster on CPU than `jax.image.resize` and its gradient."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def _double_bilinear(x: jax.Array, axis: int) -> jax.Array:
    """Twice the length along `axis`; each new pixel is 3/4 of the nearest and 1/4 of the next one, edges repeated (half-pixel centres)."""
    length = x.shape[axis]
    before = jnp.concatenate([jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, 0, length - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, length, axis=axis), jax.lax.slice_in_dim(x, length - 1, length, axis=axis)], axis)
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * length, *x.shape[axis + 1 :])


def upsample_bilinear(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], linear interpolation with half-pixel centres (PyTorch's align_corners=False)."""
    return _double_bilinear(_double_bilinear(x, 1), 2)


def upsample(x: jax.Array, method: str) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C] by `method`, "nearest" or "bilinear". Raises ValueError for others."""
    require_choice("upsampling", method, ("nearest", "bilinear"))
    return upsample_nearest(x) if method == "nearest" else upsample_bilinear(x)


def average_pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H/2, W/2, C], mean of each 2x2 square. By reshape: its gradient is a broadcast."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
