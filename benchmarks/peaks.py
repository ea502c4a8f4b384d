"""What the device can do at best, measured: a large matrix product and a copy."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from benchmarks.timing import repeat


def matmul_flops(dtype: str = "float32", size: int = 0) -> float:
    """FLOP/s of a product of two [size, size] matrices in the fastest of ten calls; size 0 takes 2048 on CPU, else 8192."""
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    x = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / min(repeat(lambda: product(x, x), 10))


def copy_bytes(megabytes: int = 0) -> float:
    """Bytes/s, read and written, of changing a large array's sign in the fastest of ten calls; megabytes 0 takes 256 on CPU, else 2048."""
    megabytes = megabytes or (256 if jax.default_backend() == "cpu" else 2048)
    x = jnp.ones((megabytes, 2**18), jnp.float32)
    copy = jax.jit(jnp.negative)  # a bare copy could be skipped
    return 2 * 4 * math.prod(x.shape) / min(repeat(lambda: copy(x), 10))
