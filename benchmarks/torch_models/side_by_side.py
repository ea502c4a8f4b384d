"""A family's rounds and the game's in PyTorch, from the same weights, on the same images and draws: do they compute the same?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.torch_models.batches import FAMILIES, random_batch, tensors
from benchmarks.torch_models.games import GAMES
from benchmarks.torch_models.learning import Options, tensor
from jaxgan import cgan, spade, stargan, stylegan
from jaxgan.convert.pytorch import from_state_dict
from jaxgan.games import adversarial, translation
from jaxgan.nn.style import noise_planes
from jaxgan.state import State
from jaxgan.update import example_streams

Pair = tuple[np.ndarray, np.ndarray]
"""A loss in each round: ours and PyTorch's."""


def compare(
    name: str,
    config: Any,
    batch_size: int,
    rounds: int = 3,
    options: Options | None = None,
    seed: int = 0,
) -> dict[str, Pair]:
    """Every loss that both sides tell: ours and PyTorch's, float [rounds], in `rounds` rounds from PyTorch's initial weights.

    Draws (latents, labels' order, alpha, noise, mixing, path directions) are ours, handed over; dropout must be off, and a replay pool not yet full.
    """
    import torch

    torch.manual_seed(seed)
    family, options = FAMILIES[name], options or Options()
    game = GAMES[name](config, options)
    state = state_of(name, config, game, seed)
    step = jax.jit(lambda state, batch, draws: family._round(config, state, batch, draws, None))
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for i in range(rounds):
        batch = random_batch(family, config, batch_size, seed + i)
        draws = _draw(name, config, state, jax.random.key(seed), len(next(iter(batch.values()))))
        theirs.append(
            {
                key: float(value)
                for key, value in game.step(
                    tensors(batch, options), _handed_over(name, config, draws, options)
                ).items()
            }
        )
        with jax.default_matmul_precision("highest"):
            state, metrics = step(state, batch, draws)
        ours.append(jax.device_get(metrics))
    shared = ours[0].keys() & theirs[0].keys()

    def column(side: list[Any], metric: str) -> np.ndarray:
        return np.array([one[metric] for one in side], np.float64)

    return {metric: (column(ours, metric), column(theirs, metric)) for metric in sorted(shared)}


def largest_difference(compared: Mapping[str, Pair]) -> float:
    """The largest difference of any loss in any round, relative to PyTorch's value, or to 0.3 where that is smaller, as means of logits are."""
    return max(
        float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 0.3)))
        for ours, theirs in compared.values()
    )


# ------------------------------------------------------------------------------------------------------------------- weights


def state_of(name: str, config: Any, game: Any, seed: int = 0) -> State:
    """A fresh state of the family with the weights and statistics of a game in PyTorch."""
    state = jax.jit(FAMILIES[name].init, static_argnums=0)(config, jax.random.key(seed))
    players, ema = {}, {}
    for player, networks in modules(name, config).items():
        params: Any = {}
        stats: Any = {}
        for network, module in networks.items():
            variables = _variables(
                module,
                {
                    key: value.detach().cpu().numpy().copy()
                    for key, value in game.networks[player][network].state_dict().items()
                },
            )
            own = {key: leaf for key, leaf in variables.items() if key != "params"}
            if not network:
                params, stats = variables["params"], own
            else:
                params, stats = (
                    {**params, network: variables["params"]},
                    translation.with_stats(stats, network, own),
                )
        if player == "generator":
            ema = jax.tree.map(jnp.copy, {"params": params, **stats})
        stats = {
            key: leaf for key, leaf in stats.items() if key != "noise"
        }  # which only the average has
        players[player] = state.players[player].replace(params=params, stats=stats)
    jax.tree.map(
        lambda old, new: None, (state.players, state.ema), (players, ema)
    )  # raises where the structures differ
    return state.replace(players=players, ema=ema)


def modules(name: str, config: Any) -> dict[str, dict[str, nn.Module]]:
    """A family's networks by player and by their name within it; "" where a player's variables are those of its only network."""
    if name in ("dcgan", "cgan"):
        game = FAMILIES[name].game(config)
        return {"generator": {"": game.generator}, "discriminator": {"": game.discriminator}}
    if name == "stylegan":
        generator, discriminator = stylegan.networks(config)
        return {"generator": {"": generator}, "discriminator": {"": discriminator}}
    if name == "cyclegan":
        ways = {
            way: translation.generator(config, count)
            for way, count in (("a2b", config.channels_b), ("b2a", config.channels_a))
        }
        return {
            "generator": ways,
            "discriminator": {domain: translation.discriminator(config) for domain in "ab"},
        }
    generator, discriminator = FAMILIES[name]._networks(config)[:2]
    return {"generator": {"g": generator}, "discriminator": {"d": discriminator}}


def _variables(module: nn.Module, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if not type(module).__name__.startswith("MLP"):
        return from_state_dict(module, arrays)
    # Fully connected networks of no reference, whose names there are ours.
    params: dict[str, dict[str, Any]] = {}
    stats: dict[str, dict[str, Any]] = {}
    for key, array in arrays.items():
        layer, _, leaf = key.rpartition(".")
        if leaf.startswith("running"):
            stats.setdefault(layer, {})[leaf.removeprefix("running_")] = jnp.array(array)
        elif leaf == "weight":
            name = "embedding" if layer == "embedding" else "kernel" if array.ndim == 2 else "scale"
            params.setdefault(layer, {})[name] = jnp.array(array.T if name == "kernel" else array)
        elif leaf == "bias":
            params.setdefault(layer, {})[leaf] = jnp.array(array)
    return {"params": params} | ({"batch_stats": stats} if stats else {})


# --------------------------------------------------------------------------------------------------------------------- draws


def _draw(name: str, config: Any, state: State, key: jax.Array, count: int) -> Any:
    """What the family itself draws for a round of `count` examples."""
    if name in ("dcgan", "cgan"):
        latent = cgan._latent(config) if name == "cgan" else jax.random.normal
        return adversarial.draw(config, state, key, count, None, latent)
    if name in ("pix2pix", "cyclegan"):
        return translation.draw(state, key, count, None)
    if name == "stargan":
        return stargan._draw(state, key, count, None)
    return (spade if name == "spade" else stylegan)._draw(config, state, key, count, None)


def _handed_over(name: str, config: Any, draws: Any, options: Options) -> dict[str, Any]:
    """The draws as the game in PyTorch takes them."""
    if name == "stylegan":
        return {turn: _turn(config, own, options) for turn, own in draws.items()}
    return {
        key: tensor(np.asarray(draws[key]), options)
        for key in ("latents", "alpha", "order")
        if key in draws
    }


def _turn(config: Any, own: Any, options: Options) -> dict[str, Any]:
    levels = stylegan.networks(config)[0].levels
    sizes = [(4 << level,) * 2 for level in range(levels) for _ in range(2 if level else 1)]
    planes = noise_planes("random", sizes, own["keys"])
    shape = (*config.image_size, config.channels)
    directions = jax.vmap(lambda key: jax.random.normal(key, shape))(
        example_streams(own["keys"], "path direction")
    )
    handed = {
        key: tensor(np.asarray(own[key]), options)
        for key in ("latents", "other_latents", "first_mixed")
    }
    noise = [tensor(np.asarray(plane)[..., None], options) for plane in planes]
    return handed | {"noise": noise, "directions": tensor(np.asarray(directions), options)}
