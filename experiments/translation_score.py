"""How far translations are from the true images, where pairs are known.

    python -m experiments.translation_score runs/pix2pix-maps paired:maps --split val
    python -m experiments.translation_score runs/stargan-digits attributes:digits

Beside the model's errors, those of what anyone could do without it: copying the input, answering the mean target of the training split, and
the best affine map of each pixel's channels, fitted to the training pairs twice: for the least RMS and for the least L1. Figures, over all
pixels of the split:

  L1        mean absolute difference, of 0 to 255
  RMS       root mean squared difference, of 0 to 255
  accuracy  share of pixels with every channel within 16 of 255
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments import evaluate
from experiments.support import runs
from experiments.support.attribute_targets import targets
from jaxgan.errors import DataError, require
from jaxgan.family import conditioning
from jaxgan.metrics.real import drawn

CHUNK = 16
"""Images translated at once."""
CLOSE = 16
SAMPLE, ROUNDS = 200_000, 30
Predict = Callable[[np.ndarray], np.ndarray]
"""Images [n, H, W, C] -> float [n, H, W, C'], both of 0 to 255."""


class Score(NamedTuple):
    """Errors of one way to translate, over all pixels: see the head of this file."""

    l1: float
    rms: float
    accuracy: float


def measure(predict: Predict, source: np.ndarray, target: np.ndarray) -> Score:
    """The errors of `predict` on pairs, [N, H, W, C] and [N, H, W, C'] of 0 to 255."""
    absolute = squared = close = 0.0
    for start in range(0, len(source), CHUNK):
        part = slice(start, start + CHUNK)
        difference = np.abs(
            np.clip(predict(source[part]), 0, 255) - target[part].astype(np.float64)
        )
        absolute, squared = absolute + difference.sum(), squared + np.square(difference).sum()
        close += (difference <= CLOSE).all(axis=-1).sum()
    return Score(
        absolute / target.size,
        float(np.sqrt(squared / target.size)),
        close / (target.size / target.shape[-1]),
    )


def baselines(source: np.ndarray, target: np.ndarray) -> dict[str, Predict]:
    """What needs no model, fitted to training pairs; copying only where channels are equal in number."""
    mean = np.mean(target, axis=0, dtype=np.float64)
    squares = _affine(source, target)
    absolute = _affine_absolute(source, target, squares)
    found: dict[str, Predict] = (
        {"copying the input": lambda images: images.astype(np.float64)}
        if source.shape[-1] == target.shape[-1]
        else {}
    )
    found["mean image"] = lambda images: np.broadcast_to(mean, (len(images), *mean.shape))
    found["best affine map of a pixel, RMS"] = lambda images: _with_one(images) @ squares
    found["best affine map of a pixel, L1"] = lambda images: _with_one(images) @ absolute
    return found


def _with_one(images: np.ndarray) -> np.ndarray:
    return np.concatenate([images.astype(np.float64), np.ones((*images.shape[:-1], 1))], axis=-1)


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64 [C + 1, C']: least squares over all pixels."""
    size, out = source.shape[-1] + 1, target.shape[-1]
    gram, cross = np.zeros((size, size)), np.zeros((size, out))
    for start in range(0, len(source), CHUNK):
        x = _with_one(source[start : start + CHUNK]).reshape(-1, size)
        gram += x.T @ x
        cross += x.T @ target[start : start + CHUNK].reshape(-1, out).astype(np.float64)
    return np.linalg.lstsq(gram, cross, rcond=None)[0]


def _affine_absolute(source: np.ndarray, target: np.ndarray, start: np.ndarray) -> np.ndarray:
    """float64 [C + 1, C']: least absolute differences, by reweighted least squares from `start`, on at most `SAMPLE` pixels drawn at random."""
    pixels = drawn(source[..., 0].size, SAMPLE)
    x = _with_one(source.reshape(-1, source.shape[-1])[pixels])
    y = target.reshape(-1, target.shape[-1])[pixels].astype(np.float64)
    weights = start.copy()
    for _ in range(ROUNDS):
        influence = 1 / np.maximum(np.abs(x @ weights - y), 1e-3)
        for channel in range(y.shape[-1]):
            weighted = x * influence[:, channel : channel + 1]
            weights[:, channel] = np.linalg.lstsq(
                weighted.T @ x, weighted.T @ y[:, channel], rcond=None
            )[0]
    return weights


def predictor(family: ModuleType, config: Any, state: Any, told: Mapping[str, Any]) -> Predict:
    """The model as a function of images of 0 to 255; compiled once for each shape."""
    import jax

    @jax.jit
    def run(state: Any, images: Any) -> Any:
        return (family.translate(config, state, images, **told) + 1) * 127.5

    def predict(images: np.ndarray) -> np.ndarray:
        padded = np.concatenate(
            [images, images[:1].repeat(CHUNK - len(images), axis=0)]
        )  # one shape, one compilation
        return np.asarray(run(state, padded / np.float32(127.5) - 1), np.float64)[: len(images)]

    return predict


def score(
    family: ModuleType,
    config: Any,
    state: Any,
    train: Any,
    held_out: Any,
    direction: str,
    told: Mapping[str, Any] | None = None,
) -> dict[str, Score]:
    """The model's errors on held-out pairs, and those of the baselines.

    Args:
      train, held_out: paired `jaxgan.data.Dataset`s.
      direction: from which side to which.
      told: what `translate` is told instead of the direction.
    """
    start, end, told = (
        direction[0],
        direction[-1],
        {"direction": direction} if told is None else told,
    )
    source, target = _of_255(held_out.arrays[start]), _of_255(held_out.arrays[end])
    found = {"this model": measure(predictor(family, config, state, told), source, target)}
    for name, predict in baselines(
        _of_255(train.arrays[start]), _of_255(train.arrays[end])
    ).items():
        found[name] = measure(predict, source, target)
    return found


def _of_255(images: np.ndarray) -> np.ndarray:
    """uint8 as it is, uint16 as floats of 0 to 255."""
    return images if images.dtype == np.uint8 else images.astype(np.float32) / 257


def table(scores: dict[str, Score], direction: str, held_out: Any) -> str:
    """The errors as text, the model's L1 and RMS also as shares of each baseline's."""
    ours = scores["this model"]
    lines = [
        f"{direction}, {held_out.size} held-out pairs".ljust(36)
        + "     L1    RMS  accuracy   our L1 / its  our RMS / its"
    ]
    for name, one in scores.items():
        shares = (
            "" if one is ours else f"{_share(ours.l1, one.l1):>14} {_share(ours.rms, one.rms):>14}"
        )
        lines.append(f"  {name:<34} {one.l1:6.2f} {one.rms:6.2f} {one.accuracy:9.1%} {shares}")
    return "\n".join(lines)


def _share(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.1%}" if ours < 10 * theirs else "> 1000%"


def report(
    family: ModuleType, config: Any, state: Any, spec: str, split: str, resize: Any = "cover"
) -> Iterator[tuple[str, dict[str, Score]]]:
    """For each direction of the model: (the table as text, the scores), on the pairs of `spec`'s `split`; of `attributes:digits` for each ink.

    Raises DataError: the set has no pairs.
    """
    from jaxgan import data

    told = conditioning(family, config)
    if told.kind == "attributes":
        yield from _report_inks(family, config, state, spec, split, resize)
        return

    def opened(part: str) -> Any:
        return data.open(
            spec,
            image_size=tuple(config.image_size),
            channels=told.sides,
            split=part,
            resize=resize,
        )

    held_out, train = opened(split), opened("train")
    if held_out.independent or "a" not in held_out.arrays:
        raise DataError(f"{spec} has no pairs to compare translations with: use a paired: source")
    for direction in told.directions:
        scores = score(family, config, state, train, held_out, direction)
        yield table(scores, direction, held_out), scores


def _report_inks(
    family: ModuleType, config: Any, state: Any, spec: str, split: str, resize: Any
) -> Iterator[tuple[str, dict[str, Score]]]:
    """To each ink, from the digits that are drawn in the others."""
    from jaxgan import data
    from jaxgan.data.digit_views import INKS, ink

    if spec != "attributes:digits":
        raise DataError(
            f"{spec} tells no true translations between attributes, which are known of attributes:digits alone: name that"
        )
    sets = [
        data.open(
            spec,
            image_size=tuple(config.image_size),
            channels=config.channels,
            split=part,
            resize=resize,
        )
        for part in (split, "train")
    ]
    for column, colour in enumerate(INKS):
        others = [
            found.arrays["image"][found.arrays["attributes"][:, column] == 0] for found in sets
        ]
        held_out, train = (
            data.from_domains(spec, images, ink(images, colour), independent=False)
            for images in others
        )
        told = {
            name: values[0] for name, values in targets(config, colour, grid=False).told.items()
        }
        scores = score(family, config, state, train, held_out, "a2b", told)
        yield table(scores, f"to {colour}", held_out), scores


def after_digits(options: Any) -> None:
    """After training on digit views, whose true translations are known: print the errors on the held-out ones, once for all processes."""
    import jax

    scheme, _, view = options.data.partition(":")
    if (
        scheme in ("paired", "unpaired", "attributes")
        and view.partition("?")[0] == "digits"
        and jax.process_index() == 0
    ):
        spec = options.data if scheme == "attributes" else f"paired:{view}"
        for text, _ in report(*runs.load(Path(options.run)), spec, "test"):
            print(text)


def as_trained(run: Path, family: ModuleType, config: Any) -> str:
    """How the run brought its images to their size, told by the fingerprint of its data.

    Raises DataError where its data cannot be opened, or have changed.
    """
    from jaxgan.metrics.real import form_of
    from jaxgan.records.rundir import read_json

    known = read_json(run / "config.json") or {}
    if "fingerprint" not in known:  # imported networks do not say
        return "cover"
    form = form_of(family, config, known.get("augment", {}).get("crop", 0)) | {"resize": "cover"}
    return str(evaluate.as_trained(run, known["data"], known["fingerprint"], form)["resize"])


def run(
    run: Path,
    data: str,
    split: str = "test",
    resize: Literal["stretch", "cover", "width"] | None = None,
    out: Path | None = None,
    family: str = "",
) -> None:
    """Print a translator's errors on pairs, beside those of doing without it.

    Args:
        run: Run directory of pix2pix, cyclegan or stargan.
        data: A paired source: paired:DIR, or paired:digits; attributes:digits of stargan.
        split: Pairs that were not trained on.
        resize: How images come to the size the model was trained at; by default as in training.
        out: File to which the figures are appended as a line of JSON.
        family: Module of the run's family where it is not the library's: FILE.py or my.module; it is run, so name one you trust.
    """
    module, config, state = runs.load(run, family=family)
    require(hasattr(module, "translate"), f"{run} holds a model that does not translate")
    for text, scores in report(
        module, config, state, data, split, resize or as_trained(run, module, config)
    ):
        print(text)
        if out is not None:
            line = {
                "run": run.name,
                "images": int(state.images),
                "data": data,
                "split": split,
                "direction": text.split(",")[0],
            }
            with out.open("a") as file:
                file.write(
                    json.dumps(line | {name: one._asdict() for name, one in scores.items()}) + "\n"
                )


if __name__ == "__main__":
    import tyro

    from experiments.support.common import one_sentence_errors

    with one_sentence_errors():
        tyro.cli(
            run,
            prog="python -m experiments.translation_score",
            description=__doc__,
            config=(tyro.conf.PositionalRequiredArgs,),
        )
