"""Which examples a step sees: a pure function of (seed, step), so that there is nothing to checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from jaxgan.errors import require, require_seed


def order(
    size: int,
    batch_size: int,
    seed: int | Sequence[int],
    step: int,
    *,
    process: int = 0,
    processes: int = 1,
) -> np.ndarray:
    """Indices of the examples of one step: int64 [batch_size // processes].

    Every epoch is a fresh permutation of `range(size)`; the stream of epochs is cut into batches without regard to where an epoch ends,
    so every example is seen equally often, and a batch may be larger than the set.

    Args:
      size: examples in the set.
      batch_size: examples per step over all processes.
      seed: from 0 to 2**32 - 1; or several, such as (seed, attempt). Zeros at the end do not count: (5,) and (5, 0) are the same order.
      process, processes: this process gets its contiguous part of the global batch.

    Raises ValueError for settings out of range, or a batch that the processes cannot share equally.
    """
    parts: Sequence[Any] = (
        seed if isinstance(seed, Sequence) and not isinstance(seed, str) else (seed,)
    )
    seeds = tuple(require_seed(part) for part in parts)
    require(size > 0, f"the set must hold at least one example, got size {size}")
    require(batch_size > 0, f"batch_size must be at least 1, got {batch_size}")
    require(step >= 0, f"step must be at least 0, got {step}")
    require(seeds, "seed must be a whole number, or several, got none")
    require(
        0 <= process < processes, f"process must be between 0 and {processes - 1}, got {process}"
    )
    require(
        batch_size % processes == 0,
        f"batch_size {batch_size} is no multiple of the {processes} processes that share it",
    )
    share = batch_size // processes
    start = int(step) * batch_size + process * share
    chosen = []
    while share > 0:
        epoch, offset = divmod(start, size)
        part = _permutation(size, seeds, epoch)[offset : offset + share]
        chosen.append(part)
        start, share = start + len(part), share - len(part)
    return np.concatenate(chosen)


@lru_cache(maxsize=4)  # steps mostly stay in one epoch; this is speed only
def _permutation(size: int, seeds: tuple[int, ...], epoch: int) -> np.ndarray:
    # NumPy pads with zeros, so (5,) and (5, 0) are the same entropy. Hence the epoch goes first, where (seed, epoch) and (seed, attempt, epoch)
    # would collide, and what follows the seed never ends in 0: (attempt,) from 1 on, or of independent sets (1 + domain,), (attempt, 1 + domain).
    return np.random.default_rng((epoch, *seeds)).permutation(size)
