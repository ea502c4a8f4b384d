"""The embedding examples do what the README says of them."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples import meta_gradients as embed_meta
from examples import population as embed_population
from jaxgan import cgan

ROOT = Path(__file__).resolve().parents[2]


def test_population_members_are_the_single_runs():
    seeds = jnp.arange(3)
    states, metrics = embed_population.train_population(seeds, steps=4, batch_size=16)
    assert metrics["d_loss"].shape == (3,)
    assert len(set(np.asarray(metrics["d_loss"]).tolist())) == 3
    alone, alone_metrics = embed_population.train_population(seeds[1:2], steps=4, batch_size=16)
    np.testing.assert_allclose(metrics["d_loss"][1], alone_metrics["d_loss"][0], rtol=1e-4)
    assert int(states.images[1]) == int(alone.images[0]) == 64


# Over one step the loss is continuous in the rate. Over more it jumps where a later gradient crosses a kink of the leaky ReLU: the average slope
# between two rates contains the jumps, the derivative does not.
@pytest.mark.parametrize(("steps", "tolerance"), [(1, 0.01), (3, 0.1)])
def test_meta_gradient_is_the_slope(steps, tolerance):
    key = jax.random.key(0)
    batches, held_out = embed_meta.digit_batches(steps, batch_size=16)
    state = jax.jit(cgan.init, static_argnums=0)(embed_meta.CONFIG, key)
    loss = jax.jit(
        lambda log_rate: embed_meta.validation_loss(
            jnp.exp(log_rate), state, batches, held_out, key
        )
    )
    at, step = float(jnp.log(1e-3)), 0.05
    slope = (float(loss(at + step)) - float(loss(at - step))) / (2 * step)
    gradient = float(jax.jit(jax.grad(loss))(at))
    assert slope < 0, "a larger rate trains the discriminator further here"
    assert gradient == pytest.approx(slope, rel=tolerance)


@pytest.mark.parametrize("module", [embed_population, embed_meta])
def test_readme_quotes_the_examples(module):
    source = [line.strip() for line in Path(module.__file__).read_text().splitlines()]
    readme = (ROOT / "README.md").read_text()
    name = Path(module.__file__).name
    after = readme[readme.index(f"examples/{name}") :]
    quoted = re.search(r"```python\n(.*?)```", after, re.DOTALL).group(1)
    for line in filter(None, map(str.strip, quoted.splitlines())):
        if not line.startswith("jax.jit(jax.vmap(train))"):
            assert line in source, f"README quotes a line that {name} no longer has: {line}"
