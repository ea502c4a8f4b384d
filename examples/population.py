"""Eight GANs at once: `vmap` over seeds of an ordinary training loop.

    python -m examples.population

Each member has its own networks, draws and data order; one compiled program trains them all.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import cgan, data
from jaxgan.errors import require_seed
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer

ADAM = Optimizer(learning_rate=1e-3, beta1=0.0, beta2=0.99)
CONFIG = cgan.Config(
    image_size=(8, 8),
    latent_size=16,
    latent="normal",
    architecture="mlp",
    generator_hidden=(64, 64),
    discriminator_hidden=(64, 64),
    batch_norm=False,
    dropout=0.0,
    generator_optimizer=ADAM,
    discriminator_optimizer=ADAM,
    stabilisers=Stabilisers(r1=1.0, ema_half_life=20_000),
)


def member(steps: int, batch_size: int = 64, config: cgan.Config = CONFIG):
    """The training of one GAN on the embedded digits, a pure function: seed, int32 [] -> (state, the last step's metrics, float32 [] each)."""
    digits = data.open("digits")
    images, labels = (
        data.normalise(jnp.asarray(digits.arrays["image"])),
        jnp.asarray(digits.arrays["label"]),
    )

    def train(seed):
        key = jax.random.key(seed)

        def step(state, i):
            chosen = jax.random.randint(
                jax.random.fold_in(jax.random.fold_in(key, 1), i),
                (batch_size,),
                0,
                len(labels),
                jnp.int32,
            )
            return cgan.train_step(
                config, state, {"image": images[chosen], "label": labels[chosen]}, key
            )

        state, metrics = jax.lax.scan(step, cgan.init(config, key), jnp.arange(steps))
        return state, {name: values[-1] for name, values in metrics.items()}

    return train


def train_population(
    seeds: jax.Array, steps: int, batch_size: int = 64, config: cgan.Config = CONFIG
):
    """Train one GAN per seed on the embedded digits.

    Args:
      seeds: integers [P], from 0 to 2**32 - 1.

    Returns: a state whose leaves have a leading axis P, and the last step's metrics, float32 [P] each.
    """
    for seed in () if isinstance(seeds, jax.core.Tracer) else np.asarray(seeds):
        require_seed(seed)
    return jax.jit(jax.vmap(member(steps, batch_size, config)))(seeds)


def main():
    """Train eight members for 500 steps and print each one's last losses."""
    _, metrics = train_population(jnp.arange(8), steps=500)
    for seed in range(8):
        print(
            f"seed {seed}: "
            + "  ".join(
                f"{name} {values[seed]:.3f}"
                for name, values in metrics.items()
                if name.endswith("loss")
            )
        )


if __name__ == "__main__":
    main()
