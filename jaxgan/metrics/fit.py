"""Training for judges: one loop of AdamW for any loss of one batch, on data sets that fit into memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import jax
import optax

from jaxgan import data
from jaxgan.data import Augment, Dataset
from jaxgan.errors import NonFiniteError, require, require_seed
from jaxgan.state import Batch, PyTree
from jaxgan.update import example_keys, stream_key

REPORTS = 10
"""Lines of progress."""


def fit(
    loss: Callable[[PyTree, Batch, jax.Array], jax.Array],
    params: PyTree,
    dataset: Dataset,
    *,
    epochs: float,
    batch_size: int,
    learning_rate: float,
    seed: int,
    augment: Augment,
    say: Callable[[str], None] = lambda text: None,
) -> PyTree:
    """Parameters trained by AdamW (weight decay 1e-4), the rate rising over the first fifth of the steps and falling to zero along a cosine.

    Args:
      loss: (params, batch, keys [B]) -> float32 []; the batch as `data.prepare` makes it. It may use the keys for dropout.
      dataset: where `augment.crop` is used, its images are larger than the network's by that margin.
      epochs: times each example is shown; steps are rounded up.
      seed: decides order, augmentation and dropout; nothing else is drawn.
      say: told the loss, about ten times, and at the end.

    Raises ValueError: settings out of range. NonFiniteError: the loss became NaN or infinite.
    """
    require(
        epochs > 0 and batch_size > 0 and learning_rate > 0,
        "epochs, batch_size and learning_rate must be above 0",
    )
    seed = require_seed(seed)
    steps = math.ceil(epochs * dataset.size / batch_size)
    optimizer = optax.adamw(
        optax.cosine_onecycle_schedule(steps, learning_rate, pct_start=0.2, div_factor=10.0),
        weight_decay=1e-4,
    )
    key = jax.random.key(seed)
    sizes = {
        name: (array.shape[1] - augment.crop, array.shape[2] - augment.crop)
        for name, array in dataset.arrays.items()
        if array.ndim > 2
    }

    @jax.jit
    def step(
        params: PyTree, opt: PyTree, batch: Batch, number: jax.Array
    ) -> tuple[PyTree, PyTree, jax.Array]:
        batch = data.prepare(batch, key, number, augment, sizes=sizes)
        keys = example_keys(stream_key(key, "dropout", number), batch_size)
        value, grads = jax.value_and_grad(loss)(params, batch, keys)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its count with fractions
            updates, opt = optimizer.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt, value

    opt, start = optimizer.init(params), time.perf_counter()
    for number in range(steps):
        rows = data.order(dataset.size, batch_size, seed, number)
        params, opt, value = step(params, opt, data.batch(dataset, rows), number)
        if (number + 1) % max(1, steps // REPORTS) == 0 or number + 1 == steps:
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"the loss became {float(value)} within {number + 1} steps: lower the learning rate"
                )
            say(
                f"{number + 1} of {steps} steps, loss {float(value):.4f}, {time.perf_counter() - start:.0f} s"
            )
    return params
