"""ADA's image-space filtering: four octaves of each image made stronger or weaker. Shapes: B examples, H, W image size, C channels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
"""Low-pass filter of the wavelet sym2 (Daubechies 1992)."""
BANDS = 4
POWER = np.array([10, 1, 1, 1], np.float32) / 13
"""Share of a natural image's power expected in each band, from the lowest: its spectrum falls as 1/f."""


@functools.cache
def filter_bank() -> np.ndarray:
    """float64 [4, 43]: symmetric filters of the four bands, which sum to the identity (a 1 in the middle).

    From the lowest band to the top octave. Source: Karras et al. 2020a, appendix B; NVlabs/stylegan2-ada-pytorch, augment.py.
    """
    low = np.array(SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    low, high = (np.convolve(taps, taps[::-1]) / 2 for taps in (low, high))
    bank = np.eye(BANDS, 1)
    for band in range(1, BANDS):
        spread = np.zeros((BANDS, 2 * bank.shape[1] - 1))
        spread[:, ::2] = bank
        bank = np.stack([np.convolve(taps, low) for taps in spread])
        start = (bank.shape[1] - len(high)) // 2
        bank[band, start : start + len(high)] += high
    return bank


def band_gains(strengths: jax.Array) -> jax.Array:
    """strengths float32 [B, 4], 1 for an untouched band -> gains float32 [B, 4]: each strength in turn, at equal expected power of the image."""
    gains = jnp.ones_like(strengths)
    for band in range(BANDS):
        own = jnp.ones_like(strengths).at[:, band].set(strengths[:, band])
        gains = (
            gains * own / jnp.sqrt(jnp.sum(POWER[None] * jnp.square(own), axis=1, keepdims=True))
        )
    return gains


def amplify(images: jax.Array, strengths: jax.Array) -> jax.Array:
    """Images [B, H, W, C] with their bands amplified by `band_gains(strengths)`, reflected at the borders; all strengths 1: unchanged to the bit."""
    taps = jnp.einsum(
        "bn,nk->bk",
        band_gains(strengths),
        jnp.array(filter_bank(), jnp.float32),
        precision="highest",
    )
    filtered = images
    for axis, equation in ((1, "bik,bkwc->biwc"), (2, "bik,bhkc->bhic")):
        side, reach = images.shape[axis], taps.shape[1] // 2
        padded = jnp.pad(
            filtered, [(reach, reach) if i == axis else (0, 0) for i in range(4)], mode="reflect"
        )
        # As a product with a band matrix: one filter for each image would be a grouped convolution, which is slow everywhere.
        place = np.arange(side + 2 * reach)[None, :] - np.arange(side)[:, None]
        band = jnp.where(
            (place >= 0) & (place < taps.shape[1]),
            taps[:, np.clip(place, 0, taps.shape[1] - 1)],
            0.0,
        )
        filtered = jnp.einsum(equation, band, padded, precision="highest")
    touched = jnp.any(strengths != 1, axis=1)
    return jnp.where(touched[:, None, None, None], filtered, images)
