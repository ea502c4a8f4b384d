"""The smallest whole family, for tests of what surrounds a family: a linear generator with batch norm against a linear critic, on 4 x 4 images.

Small enough to compile in a second, and still everything a run must carry: batch statistics, two Adam states, an average, an `extra` collection.
`Config.fail_at` makes it misbehave: from that step on `g_loss` and the generator are NaN (`fail_state_only`: `extra` only, which no
metric shows), with `fail_seed` >= 0 only in a run whose key is `jax.random.key(fail_seed)`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxgan.state import Player, State
from jaxgan.update import (
    device_count,
    device_mean,
    example_keys,
    moving_average,
    stream_key,
    update,
)


@dataclasses.dataclass(frozen=True)
class Adam:
    learning_rate: float = 1e-2
    beta1: float = 0.5


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: tuple[int, int] = (4, 4)
    channels: int = 1
    latent_size: int = 3
    width: int = 8
    critic_steps: int = 1
    optimizer: Adam = Adam()
    optimizer_name: str = "adam"
    ema_half_life: float = 64.0
    fail_at: int = -1
    fail_seed: int = -1
    fail_state_only: bool = False


def _optimizer(config):
    import optax

    if config.optimizer_name == "sgd":
        return optax.sgd(config.optimizer.learning_rate)
    return optax.adam(config.optimizer.learning_rate, b1=config.optimizer.beta1)


def batch_spec(config, batch_size):
    return {
        "image": jax.ShapeDtypeStruct(
            (config.critic_steps * batch_size, *config.image_size, config.channels), jnp.float32
        )
    }


def _pixels(config):
    return config.image_size[0] * config.image_size[1] * config.channels


def init(config, key):
    keys = jax.random.split(stream_key(key, "init"), 3)
    weights = lambda key, *shape: 0.3 * jax.random.normal(key, shape)  # noqa: E731
    generator = {
        "hidden": weights(keys[0], config.latent_size, config.width),
        "out": weights(keys[1], config.width, _pixels(config)),
    }
    discriminator = {"kernel": weights(keys[2], _pixels(config)), "bias": jnp.zeros(())}
    statistics = {"batch_stats": {"mean": jnp.zeros(config.width)}}
    opt = _optimizer(config).init
    players = {
        "generator": Player(generator, statistics, opt(generator)),
        "discriminator": Player(discriminator, {}, opt(discriminator)),
    }
    return State(
        jnp.int32(0),
        jnp.int32(0),
        players,
        {"params": generator, **statistics},
        {"real_mean": jnp.float32(0)},
    )


def _generate(config, params, latents, mean):
    hidden = latents @ params["hidden"]
    mean = hidden.mean(0) if mean is None else mean
    return jnp.tanh(jax.nn.relu(hidden - mean[None]) @ params["out"]).reshape(
        -1, *config.image_size, config.channels
    )


def train_step(config, state, batch, key, *, axis_name=None):
    real = batch["image"].reshape(-1, config.critic_steps, _pixels(config))
    count = real.shape[0]
    keys = example_keys(stream_key(key, "latents", state.step), count, axis_name)
    latents = jax.vmap(lambda k: jax.random.normal(k, (config.latent_size,)))(keys)
    generator, discriminator, optimizer = (
        state.players["generator"],
        state.players["discriminator"],
        _optimizer(config),
    )
    mean = device_mean((latents @ generator.params["hidden"]).mean(0), axis_name)
    fake = _generate(config, generator.params, latents, mean).reshape(count, -1)

    def critic(params, x):
        return x @ params["kernel"] + params["bias"][None]

    d_loss = None
    for j in range(config.critic_steps):

        def loss_fn(params, j=j):
            loss = jnp.mean(jax.nn.softplus(-critic(params, real[:, j]))) + jnp.mean(
                jax.nn.softplus(critic(params, fake))
            )
            return loss, None

        discriminator, d_loss, _ = update(discriminator, loss_fn, optimizer, axis_name)

    def fooling(params):
        mean = device_mean((latents @ params["hidden"]).mean(0), axis_name)
        fake = _generate(config, params, latents, mean).reshape(count, -1)
        return jnp.mean(jax.nn.softplus(-critic(discriminator.params, fake))), mean

    generator, g_loss, mean = update(generator, fooling, optimizer, axis_name)
    generator = generator.replace(
        stats={"batch_stats": {"mean": 0.9 * generator.stats["batch_stats"]["mean"] + 0.1 * mean}}
    )
    bad = _failure(config, state, key)
    if not config.fail_state_only:
        g_loss, generator = (
            g_loss + bad,
            generator.replace(params=jax.tree.map(lambda x: x + bad, generator.params)),
        )
    shown = count * config.critic_steps * device_count(axis_name)
    ema = moving_average(
        state.ema,
        {"params": generator.params, **generator.stats},
        shown,
        state.images,
        config.ema_half_life,
    )
    extra = {
        "real_mean": 0.5 * state.extra["real_mean"]
        + 0.5 * device_mean(real.mean(), axis_name)
        + bad
    }
    players = {"generator": generator, "discriminator": discriminator}
    return State(state.step + 1, state.images + shown, players, ema, extra), {
        "d_loss": d_loss,
        "g_loss": g_loss,
    }


def _failure(config, state, key):
    fails = (config.fail_at >= 0) & (state.step >= config.fail_at)
    if config.fail_seed >= 0:
        fails &= (
            jax.random.key_data(key) == jax.random.key_data(jax.random.key(config.fail_seed))
        ).all()
    return jnp.where(fails, jnp.nan, 0.0)


def sample(config, state, key, n, *, first=0):
    latents = jax.vmap(lambda k: jax.random.normal(k, (config.latent_size,)))(
        example_keys(key, n, first=first)
    )
    return _generate(config, state.ema["params"], latents, state.ema["batch_stats"]["mean"])


def preview(config, state, batch, key):
    return sample(config, state, key, 4).reshape(2, 2, *config.image_size, config.channels)
