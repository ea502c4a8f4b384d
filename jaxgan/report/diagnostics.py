"""What the evaluations of a run say, in plain words with what to try; and the table of the last one. Reads results, no data."""

from __future__ import annotations

from collections.abc import Sequence

from jaxgan.metrics.result import SECONDS, Result
from jaxgan.report.curves import escape

LITTLE_VARIETY, MUCH_VARIETY, COPIES, INVERTED = 0.6, 1.4, 0.6, -0.3
"""Bars: generated images' unlikeness and distance to training images, relative to those of real ones; correlation of brightness."""

_COLLAPSED = (
    "Generated images{which} are {share:.2f} times as unlike each other as real ones: too little variety (mode collapse). Try the stabilisers: R1, spectral "
    "norm, instance noise, another loss (hinge, wgan), or an averaged generator from an earlier checkpoint."
)
_SCATTERED = (
    "Generated images{which} are {share:.2f} times as unlike each other as real ones: noise or artefacts rather than variety, as early in training. "
    "Train longer, average the generator (ema_half_life), or lower the learning rates."
)
_COPIES = (
    "Generated images{which} are {share:.2f} times as far from their nearest training images as new real images are: they are close to copies. Try "
    "augmentation (--config.stabilisers.augment.kind ada), more data, or an earlier checkpoint."
)
_INVERTED = (
    "Translations{which} are dark where their input is light (correlation of brightness {value:.2f}{truth}). If true ones would not be, the colours are "
    "inverted: try a weight on identity, another seed, or larger batches; cycle consistency alone does not prevent it."
)
_NOT_INVERTED = (
    "True translations{which} are dark where their input is light (correlation of brightness {floor:.2f}), these are not ({value:.2f}): the colours are "
    "inverted. Try another seed, no weight on identity, or more training."
)
_NO_LABELS = (
    "{value:.0%} of generated images{which} are read as {what} asked for, {floor:.0%} of real ones: the generator does not heed what it is told. Train longer, "
    "or give the discriminator more weight on it."
)
_FEW_MODES = (
    "Precision {precision:.2f} and recall {recall:.2f}{which}: single images are good, variety is missing. Try less truncation, a weaker discriminator, or "
    "more data."
)
_POOR_IMAGES = (
    "Precision {precision:.2f} and recall {recall:.2f}{which}: much variety, but many images are unlike any real one. "
    "Train longer, or sample with truncation."
)
_AT_THE_FLOOR = "{metric}{which} is {value:.3g}, that of real images {floor:.3g}: what is left is mostly chance. Use more images to tell models apart."


def last(results: Sequence[Result]) -> list[Result]:
    """The results of the checkpoint that was evaluated last: of each figure the one measured last."""
    counted = [one for one in results if one.checkpoint is not None and one.metric != SECONDS]
    if not counted:
        return []
    number = counted[-1].checkpoint
    latest = {(one.metric, one.subject): one for one in counted if one.checkpoint == number}
    return list(latest.values())


def sentences(results: Sequence[Result]) -> list[str]:
    """What the last evaluation says that one should know; [] where it is nothing."""
    latest = last(results)
    found = [sentence for one in latest for sentence in _of_one(one)]
    by_name = {(one.metric, one.subject): one.value for one in latest}
    for (metric, subject), precision in by_name.items():
        recall = by_name.get(("recall", subject))
        if metric == "precision" and recall is not None:
            values = {"precision": precision, "recall": recall, "which": _which(subject)}
            found += (
                [_FEW_MODES.format(**values)] if precision > 0.5 and recall < precision / 2 else []
            )
            found += (
                [_POOR_IMAGES.format(**values)] if recall > 0.5 and precision < recall / 2 else []
            )
    return found


def _of_one(one: Result) -> list[str]:
    which, floor = _which(one.subject), one.floor
    if one.metric == "colour_correlation":
        if one.value < INVERTED and (floor is None or floor > INVERTED):
            truth = "" if floor is None else f", of true ones {floor:.2f}"
            return [_INVERTED.format(which=which, value=one.value, truth=truth)]
        turned = floor is not None and floor < INVERTED and one.value > -INVERTED
        return [_NOT_INVERTED.format(which=which, value=one.value, floor=floor)] if turned else []
    if floor is not None and _at_the_floor(one, floor):
        return [_AT_THE_FLOOR.format(metric=one.metric, which=which, value=one.value, floor=floor)]
    if floor is None or floor <= 0:
        return []
    share = one.value / floor
    if one.metric == "diversity" and not LITTLE_VARIETY <= share <= MUCH_VARIETY:
        return [(_COLLAPSED if share < 1 else _SCATTERED).format(which=which, share=share)]
    if one.metric == "memorisation" and share < COPIES:
        return [_COPIES.format(which=which, share=share)]
    if (
        one.metric in ("class_accuracy", "attribute_accuracy")
        and "class " not in one.subject
        and share < 0.8
    ):
        what = "the class" if one.metric == "class_accuracy" else "showing the attribute"
        return [_NO_LABELS.format(which=which, value=one.value, floor=floor, what=what)]
    return []


def _at_the_floor(one: Result, floor: float) -> bool:
    """Whether a distance is that of real images but for chance: KID by its error; FID, which fewer images raise, only where the floor is of about as many."""
    if one.metric == "kid":
        return one.standard_error is not None and one.value - floor < 2 * one.standard_error
    return one.metric == "fid" and one.floor_compares and one.value < 1.5 * floor


def _which(subject: str) -> str:
    return f" ({subject})" if subject else ""


# ---------------------------------------------------------------------------------------------------------------------- report


def section(results: Sequence[Result], seconds: float, best: str = "") -> str:
    """HTML: the last evaluation as tables, one for each way in which figures were measured, and what evaluating has cost.

    Args:
      seconds: training time. best: a sentence on the best checkpoint.
    """
    latest = last(results)
    if not latest:
        return ""
    spent = sum(one.value for one in results if one.metric == SECONDS)
    cost = (
        f" Evaluating took {spent:,.1f} s, {spent / seconds:.1%} of the time."
        if seconds > 0 and spent
        else ""
    )
    groups: dict[str, list[Result]] = {}
    for one in latest:
        groups.setdefault(_manner(one), []).append(one)
    tables = "".join(_table(manner, group) for manner, group in groups.items())
    return f"<p>At {latest[0].checkpoint:,} images.{escape(cost)}{escape(best)}</p>{tables}"


def _manner(one: Result) -> str:
    """How a figure was measured: data, split, seed, truncation."""
    truncation = "" if one.truncation is None else f", truncation {one.truncation:g}"
    return f"Against {one.data}, split {one.split}, seed {one.seed}{truncation}"


def _table(manner: str, results: Sequence[Result]) -> str:
    networks = sorted(
        {
            f"{one.network} ({one.resize})" if one.resize else one.network
            for one in results
            if one.network
        }
    )
    facts = manner + (f", by {'; '.join(networks)}" if networks else "")
    head = "<tr><th>figure</th><td>value</td><td>standard error</td><td>of real images</td><td>images, generated and real</td></tr>"
    return f"<p>{escape(facts)}.</p><table>{head}{''.join(map(_row, results))}</table>"


def _row(one: Result) -> str:
    error, floor = (
        "" if value is None else f"{value:.4g}" for value in (one.standard_error, one.floor)
    )
    cells = [f"{one.value:.4g}", error, floor, f"{one.generated:,} and {one.real:,}"]
    return (
        f"<tr><th>{escape(one.metric + _which(one.subject))}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )
