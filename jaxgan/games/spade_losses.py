"""SPADE's losses: the discriminator's judgement and loss, distances in feature maps, the divergence of styles from the normal distribution.

Shapes: B examples on this device, H, W image size, C channels, S planes of the layout, h, w the patches of one scale of the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import losses
from jaxgan.augment import Parts
from jaxgan.games import translation
from jaxgan.games.layouts import Layout
from jaxgan.games.stabilisers import augmentation, penalties
from jaxgan.games.translation import Draws, l1
from jaxgan.networks.spade import Judgement, MultiscaleDiscriminator
from jaxgan.nn.channels import beside
from jaxgan.perceptual.vgg import VGGFeatures
from jaxgan.state import Metrics, PyTree

Change = Callable[[Layout, jax.Array], tuple[Layout, jax.Array]]
"""What augmentation does to layouts and the images [B, n, H, W, C] that go with them, all alike."""
PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of the five feature maps, the largest first."""


def judge(
    network: MultiscaleDiscriminator,
    config: Any,
    params: PyTree,
    stats: PyTree,
    layout: Layout,
    fake: jax.Array,
    real: jax.Array,
    keys: jax.Array,
    images: jax.Array,
    name: str,
    change: Change,
) -> tuple[list[Judgement], list[Judgement], PyTree]:
    """What the discriminator says of generated and of real images [B, H, W, C], in one training pass called `name`, for each scale; its statistics after.

    Generated and real images lie in turn in one batch, so that on several devices each keeps its own. The noise is on the images, not on the layout.
    Augmentation, after it, changes both alike, as their features are compared, and moves the layout with them.
    """
    noisy = [
        translation.instance_noise(config, keys, images, f"{name} {of}")(x)
        for x, of in ((fake, "fake"), (real, "real"))
    ]
    seen, both = change(layout, jnp.stack(noisy, axis=1))
    given: dict[str, Any] = {"layout": seen.planes, "symbols": seen.symbols}
    own = translation.variables_of(stats, "d")
    judged, own = network.apply(
        {"params": params["d"], **own},
        both.reshape(-1, *both.shape[2:]),
        **given,
        train=True,
        mutable=list(own),
    )
    of_fake, of_real = (
        jax.tree.map(lambda leaf, first=first: leaf[first::2], judged) for first in (0, 1)
    )
    return of_fake, of_real, translation.with_stats(stats, "d", dict(own))


def augmented(config: Any, draws: Draws, name: str, layout: Layout, image: jax.Array) -> Change:
    """What augmentation does in the pass called `name`, to images like `image` [B, H, W, C]; planes are interpolated where they turn."""
    planes = layout.planes.shape[-1]
    change = augmentation(
        config.stabilisers,
        draws,
        "d",
        name,
        (*image.shape[:-1], planes + image.shape[-1]),
        Parts(given=planes),
    )
    if config.stabilisers.augment.kind == "none":
        return lambda given, images: (given, images)

    def of_all(given: Layout, images: jax.Array) -> tuple[Layout, jax.Array]:
        told = jnp.broadcast_to(given.planes[:, None], (*images.shape[:-1], planes))
        changed = jax.vmap(change, 1, 1)(beside([told, images]))
        return Layout(changed[:, 0, ..., :planes], None), changed[..., planes:]

    return of_all


def mean_over_scales(
    term: Callable[[jax.Array, jax.Array], jax.Array],
    of_fake: list[Judgement],
    of_real: list[Judgement],
) -> jax.Array:
    """The mean of `term`, a function of the logits [B, h, w] of generated and of real images, over the scales."""
    return jnp.mean(
        jnp.stack([term(fake, real) for (fake, _), (real, _) in zip(of_fake, of_real, strict=True)])
    )


def critic_loss(
    network: MultiscaleDiscriminator,
    config: Any,
    params: PyTree,
    stats: PyTree,
    layout: Layout,
    fake: jax.Array,
    real: jax.Array,
    draws: Draws,
    images: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
    """The discriminator's adversarial loss, averaged over scales, plus the penalties that are on; statistics after the pass; metrics.

    A penalty is that of the sum of all patches of all scales.
    """
    s, edge = config.stabilisers, losses.decision_boundary(config.loss)
    change = augmented(config, draws, "judging", layout, real)
    of_fake, of_real, stats = judge(
        network, config, params, stats, layout, fake, real, draws["keys"], images, "judging", change
    )
    terms: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
        "d_adversarial_loss": lambda f, r: losses.discriminator_loss(
            config.loss, r, f, s.real_target, s.fake_target, axis_name=axis_name
        ),
        "real_logits": lambda f, r: jnp.mean(r),
        "fake_logits": lambda f, r: jnp.mean(f),
        "real_accuracy": lambda f, r: jnp.mean(r > edge, dtype=jnp.float32),
        "fake_accuracy": lambda f, r: jnp.mean(f < edge, dtype=jnp.float32),
    }
    if s.augment.kind == "ada":
        terms["real_sign"] = lambda f, r: jnp.mean(jnp.sign(r.astype(jnp.float32) - edge))
    metrics: Metrics = {
        name: mean_over_scales(term, of_fake, of_real) for name, term in terms.items()
    }

    def critic(x: jax.Array) -> jax.Array:
        seen, shown = change(layout, x[:, None])
        judged: Any = network.apply(
            {"params": params["d"], **translation.variables_of(stats, "d")},
            shown[:, 0],
            layout=seen.planes,
            train=False,
        )
        return jnp.concatenate([logits.reshape(len(x), -1) for logits, _ in judged], axis=1)

    penalty, penalty_metrics = penalties(s, critic, critic, real, fake, draws.get("alpha"))
    return metrics["d_adversarial_loss"] + penalty, (stats, metrics | penalty_metrics)


def feature_matching(of_fake: list[Judgement], of_real: list[Judgement]) -> jax.Array:
    """Mean L1 distance of feature maps to those of real images, summed over the layers of a scale, averaged over scales: float32 [].

    No gradient reaches the real images' maps. Source: Wang et al. 2018 (pix2pixHD), eq. 4; NVlabs/SPADE. Deviation: none.
    """
    pairs = [
        (fake, real)
        for (_, fakes), (_, reals) in zip(of_fake, of_real, strict=True)
        for fake, real in zip(fakes, reals, strict=True)
    ]
    total = sum((l1(fake, jax.lax.stop_gradient(real)) for fake, real in pairs), jnp.float32(0))
    return total / len(of_fake)


def perceptual(kind: str, params: PyTree, fake: jax.Array, real: jax.Array) -> jax.Array:
    """Weighted mean L1 distances of images [B, H, W, C] in [-1, 1] to real ones in five feature maps of a fixed network, float32 [].

    No gradient reaches the network or the real images. The images enter as they are, without the network's own normalisation.
    Source: Johnson et al. 2016; weights of NVlabs/SPADE. Deviation: none.
    """
    network = VGGFeatures(kind)
    of_fake, of_real = (
        network.apply({"params": jax.lax.stop_gradient(params)}, images)
        for images in (fake, jax.lax.stop_gradient(real))
    )
    distances = [
        weight * l1(x, y) for weight, x, y in zip(PERCEPTUAL_WEIGHTS, of_fake, of_real, strict=True)
    ]
    return sum(distances, jnp.float32(0))


def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)), summed over the Z numbers of each style: [B, Z] and [B, Z] -> float32 [B] (Kingma & Welling 2014, appendix B)."""
    return -0.5 * jnp.sum(1 + log_variance - jnp.square(mean) - jnp.exp(log_variance), axis=-1)
