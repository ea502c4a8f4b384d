"""SPADE's losses: the discriminator's judgement and loss, distances in feature maps, the divergence of styles from the normal distribution.

Shapes: B examples on this device, H, W image size, C channels, S planes of the layout, h, w the patches of one scale of the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import losses
from jaxgan.augment import Parts
from jaxgan.games import translation
from jaxgan.games.layouts import Layout
from jaxgan.games.round import Round, noisy
from jaxgan.games.stabilisers import augmentation, penalties
from jaxgan.games.translation import l1
from jaxgan.networks.spade import Judgement, MultiscaleDiscriminator
from jaxgan.nn.channels import beside
from jaxgan.perceptual.vgg import VGGFeatures
from jaxgan.state import Metrics, PyTree

Change = Callable[[Layout, jax.Array], tuple[Layout, jax.Array]]
"""What augmentation does to layouts and the images [B, n, H, W, C] that go with them, all alike."""
PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of the five feature maps, the largest first."""


class LayoutCritic(NamedTuple):
    """The discriminator in one round: its network, and the layout that it judges images by."""

    network: MultiscaleDiscriminator
    round: Round
    layout: Layout

    def judge(
        self,
        params: PyTree,
        stats: PyTree,
        images: tuple[jax.Array, jax.Array],
        of: str,
        change: Change,
    ) -> tuple[list[Judgement], list[Judgement], PyTree]:
        """What the discriminator says of generated and of real images [B, H, W, C], in one training pass, for each scale; its statistics after.

        Generated and real images lie in turn in one batch, so that on several devices each keeps its own. The noise is on the images, not on the layout.
        Augmentation, after it, changes both alike, as their features are compared, and moves the layout with them.
        """
        parts = zip(images, ("fake", "real"), strict=True)
        seen, both = change(
            self.layout,
            jnp.stack([noisy(self.round, part, f"{of} {name}") for part, name in parts], axis=1),
        )
        variables = translation.variables_of(stats, "d")
        judged, after = self.network.apply(
            {"params": params["d"], **variables},
            both.reshape(-1, *both.shape[2:]),
            layout=seen.planes,
            symbols=seen.symbols,
            train=True,
            mutable=list(variables),
        )
        of_fake, of_real = (
            jax.tree.map(lambda leaf, first=first: leaf[first::2], judged) for first in (0, 1)
        )
        return of_fake, of_real, translation.with_stats(stats, "d", dict(after))

    def augmentation(self, of: str, image: jax.Array) -> Change:
        """What augmentation does in the pass `of`, to images like `image` [B, H, W, C]; planes are interpolated where they turn."""
        s, planes = self.round.stabilisers, self.layout.planes.shape[-1]
        shape = (*image.shape[:-1], planes + image.shape[-1])
        change = augmentation(s, self.round.draws, "d", of, shape, Parts(given=planes))
        if s.augment.kind == "none":
            return lambda given, images: (given, images)

        def of_all(given: Layout, images: jax.Array) -> tuple[Layout, jax.Array]:
            told = jnp.broadcast_to(given.planes[:, None], (*images.shape[:-1], planes))
            changed = jax.vmap(change, 1, 1)(beside([told, images]))
            return Layout(changed[:, 0, ..., :planes], None), changed[..., planes:]

        return of_all

    def loss(
        self, params: PyTree, stats: PyTree, fake: jax.Array, real: jax.Array
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        """The adversarial loss, averaged over scales, plus the penalties that are on; statistics after the pass; metrics.

        A penalty is that of the sum of all patches of all scales.
        """
        round, s = self.round, self.round.stabilisers
        change = self.augmentation("judging", real)
        of_fake, of_real, stats = self.judge(params, stats, (fake, real), "judging", change)

        def term(fake: jax.Array, real: jax.Array) -> Metrics:
            adversarial = losses.discriminator_loss(
                round.config.loss,
                real,
                fake,
                s.real_target,
                s.fake_target,
                axis_name=round.axis_name,
            )
            return {"d_adversarial_loss": adversarial, **round.logit_metrics(real, fake)}

        metrics: Metrics = mean_over_scales(term, of_fake, of_real)

        def logits(images: jax.Array) -> jax.Array:
            seen, shown = change(self.layout, images[:, None])
            judged: Any = self.network.apply(
                {"params": params["d"], **translation.variables_of(stats, "d")},
                shown[:, 0],
                layout=seen.planes,
                train=False,
            )
            flat = [patches.reshape(len(images), -1) for patches, _ in judged]
            return jnp.concatenate(flat, axis=1)

        penalty, penalty_metrics = penalties(
            s, logits, logits, real, fake, round.draws.get("alpha")
        )
        return metrics["d_adversarial_loss"] + penalty, (stats, metrics | penalty_metrics)


def mean_over_scales(
    term: Callable[[jax.Array, jax.Array], Any],
    of_fake: list[Judgement],
    of_real: list[Judgement],
) -> Any:
    """The mean over the scales of `term`, a function of the logits [B, h, w] of generated and of real images: numbers, in any tree."""
    terms = [term(fake, real) for (fake, _), (real, _) in zip(of_fake, of_real, strict=True)]
    return jax.tree.map(lambda *values: jnp.mean(jnp.stack(values)), *terms)


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
