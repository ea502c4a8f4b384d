"""What the curves say, in plain words, and what to try."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxgan.report.curves import Series

HINT_POINTS = 12
"""A curve with fewer finite values in its last third is not judged."""
OVERFITTING_SIGN = 0.8
"""Mean sign of real logits (r_t of Karras et al. 2020) above which adaptive augmentation has not caught up."""


def losses_used(config: Any) -> set[str]:
    """Every value of a setting named "loss"."""
    if isinstance(config, list):
        return set().union(*map(losses_used, config))
    if not isinstance(config, dict):
        return set()
    return set().union(
        *(
            {value} if name == "loss" and isinstance(value, str) else losses_used(value)
            for name, value in config.items()
        )
    )


def _last_third(series: Series) -> np.ndarray:
    values = series[1][len(series[1]) * 2 // 3 :]
    values = values[np.isfinite(values)]
    return values if len(values) >= HINT_POINTS else np.array([])


def find_hints(series: dict[str, Series], rate: Series, losses: Iterable[str] = ()) -> list[str]:
    """Plain sentences on what the last third of the curves suggests trying; never empty.

    Args:
      losses: names of the adversarial losses in use; accuracies are not judged where the sign of a logit does not mean real or fake
        (Wasserstein, relativistic).
    """
    hints = []
    if broken := [name for name, (_, values) in series.items() if not np.isfinite(values).all()]:
        hints.append(_NOT_FINITE.format(names=", ".join(broken)))
    if not any(loss == "wasserstein" or loss.startswith("relativistic") for loss in losses):
        for name in series:
            partner = name.replace("real_accuracy", "fake_accuracy")
            if partner != name and partner in series:
                hints += _accuracy_hint(
                    name, _last_third(series[name]), _last_third(series[partner])
                )
    for name, one in series.items():
        values = _last_third(one)
        if "logits" in name and len(values) and np.abs(values).mean() > 50:
            hints.append(_LARGE_LOGITS.format(name=name, mean=values.mean()))
        if name.endswith("real_sign") and len(values) and values.mean() > OVERFITTING_SIGN:
            hints.append(_SIGN.format(name=name, mean=values.mean()))
        if {"fid", "kid"} & set(re.split("[_/]", name.lower())):
            hints += _score_hint(name, one)
    speed = _last_third(rate)
    if len(speed) and np.median(speed) < 0.7 * (before := np.median(rate[1][: len(rate[1]) // 3])):
        hints.append(_SLOWER.format(before=before, now=np.median(speed)))
    if not any(len(_last_third(one)) for one in series.values()):
        hints.append("Too few values yet to judge the curves.")
    return hints or ["Nothing unusual. GAN losses do not show quality: judge by the samples."]


_NOT_FINITE = (
    "Not finite at some point: {names}. Try a lower learning rate, gradient clipping (clip_norm), float32 instead of bfloat16, or continue "
    "from the last good checkpoint with --rollback."
)
_SIGN = (
    "The mean sign of the discriminator's logits on real images ({name}) is {mean:.2f}, well above the 0.6 that adaptive augmentation aims at: it learns the "
    "training images by heart. Try a smaller augment.speed_images, more operations in augment.pipe, or fewer weights in the discriminator."
)
_LARGE_LOGITS = "{name} has drifted to {mean:.3g}: large logits leave the generator little gradient. Try an R1 penalty or spectral norm."
_SLOWER = "Training has slowed down from {before:,.0f} to {now:,.0f} images/s: is another program using the machine, or is the device too hot?"
_DISCRIMINATOR_WINS = (
    "The discriminator{which} tells real from fake nearly always ({real:.0%} of real and {fake:.0%} of generated images): the generator learns "
    "little. Try an R1 penalty, a lower discriminator learning rate, instance noise, or smoothed real labels."
)
_DISCRIMINATOR_GUESSES = (
    "The discriminator{which} is close to guessing ({real:.0%} of real and {fake:.0%} of generated images): fine if the samples are good; if not, "
    "it is too weak. Try a wider discriminator, a higher learning rate for it, or a weaker penalty."
)
_DISCRIMINATOR_STUCK = (
    "The discriminator{which} is right about {real:.0%} of real and {fake:.0%} of generated images: it calls nearly everything the same. "
    "Try a higher learning rate for it, or a weaker penalty."
)
_OVERFITTED = "{name} was best ({best:.4g}) at {images:,.0f} images and is {last:.4g} now: use an earlier checkpoint, or stop earlier."


def _accuracy_hint(name: str, real: np.ndarray, fake: np.ndarray) -> list[str]:
    if not len(real) or not len(fake):
        return []
    low, high = sorted((real.mean(), fake.mean()))
    if low > 0.98:
        sentence = _DISCRIMINATOR_WINS
    elif high < 0.6:
        sentence = _DISCRIMINATOR_GUESSES
    elif low < 0.1 and high > 0.9:
        sentence = _DISCRIMINATOR_STUCK
    else:
        return []
    return [
        sentence.format(
            which="" if name == "real_accuracy" else f" ({name})",
            real=real.mean(),
            fake=fake.mean(),
        )
    ]


def _score_hint(name: str, one: Series) -> list[str]:
    images, values = one[0][np.isfinite(one[1])], one[1][np.isfinite(one[1])]
    if len(values) < 4 or values[-1] <= 1.2 * values.min():
        return []
    return [
        _OVERFITTED.format(
            name=name, best=values.min(), images=images[values.argmin()], last=values[-1]
        )
    ]
