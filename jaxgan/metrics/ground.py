"""What evaluations of one model share, whatever its state: real images and what is known of them; and who looks at generated images as they are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from jaxgan.data.dataset import Dataset
from jaxgan.metrics import figures, looks, paired, real, segmentation, table
from jaxgan.metrics.features import cached, extract
from jaxgan.metrics.figures import Known
from jaxgan.metrics.judges import Judge, attributes, segment
from jaxgan.metrics.real import Rows
from jaxgan.metrics.tasks import Task


class Ground:
    """What stays the same from state to state: the real images and what is known of them, made when they are first asked for. floors: see `Material`, by task.

    Args:
      train, network, metrics, samples, judge, looks, seed: see `measure.evaluator`.
      copies: look for copies of training images, where there are any.
      whole: take real images at their own size, rather than cut to that of the generated ones.
    """

    def __init__(
        self,
        dataset: Dataset,
        train: Dataset | None,
        network: Any,
        metrics: tuple[str, ...],
        samples: int,
        judge: Judge | None,
        looks: bool,
        copies: bool,
        seed: int,
        whole: bool = False,
    ):
        self.dataset, self.train, self.network, self.metrics = dataset, train, network, metrics
        self.samples, self.judge, self.looks, self.seed, self.whole = (
            samples,
            judge,
            looks,
            seed,
            whole,
        )
        self.segmenter = (
            (lambda images: segment(judge, images))
            if judge is not None and judge.kind == "layout"
            else real.segmenter(dataset)
        )
        self.copies = looks and copies and train is not None
        self.featured = tuple(
            name for name in metrics if table.needs(name, judge) and name != "ppl"
        )
        self.coloured = "attribute_accuracy" in self.featured
        self.floors: dict[str, dict[Any, Any]] = {}
        self._known: dict[tuple[str, bool], Known] = {}
        self._read: dict[tuple[int, int], np.ndarray] = {}
        self._small: dict[tuple[int, int], np.ndarray] = {}

    def rows(self, array: str, size: tuple[int, int], training: bool = False) -> Rows:
        """The real images of an array, at the size of those that are made."""
        images = (self.train if training and self.train is not None else self.dataset).arrays[array]
        return Rows(images, images.shape[1:3] if self.whole else size)

    def known(self, array: str, size: tuple[int, int], training: bool = False) -> Known | None:
        """Features of the real images in an array; `training`: of at most `samples` training images, drawn at random, None where the real ones are those."""
        source = self.train if training else self.dataset
        if source is None or array not in source.arrays:
            return None
        if (array, training) not in self._known:
            rows = self.rows(array, size, training)
            rows = rows.some(self.samples, self.seed) if training else rows
            name = f"{array} {rows.size[0]}x{rows.size[1]} {rows.told()}"
            found = cached(
                self.network, name, source.fingerprint, lambda: extract(self.network, rows.blocks())
            )
            index = slice(None) if rows.index is None else rows.index
            labels, told_by = (
                None if each not in source.arrays else source.arrays[each][index]
                for each in ("label", "attributes")
            )
            colours = (
                np.concatenate([figures.colours(block) for block in rows.blocks()])
                if self.coloured
                else None
            )
            told = (
                np.array(source.known, bool)[source.arrays["set"][index]] if source.known else None
            )
            self._known[array, training] = Known(found, labels, told_by, colours, told)
        return self._known[array, training]

    def column(self, task: Task) -> int:
        """Of the judge's columns, the one that a task is about."""
        assert self.judge is not None
        assert task.column is not None
        return list(self.judge.meta["outputs"]).index(self.dataset.attributes[task.column])

    def judged(self, task: Task, size: tuple[int, int]) -> np.ndarray:
        """Whether the judge reads the attribute of a task off each of the real images that have it, bool [n]."""
        if size not in self._read:
            assert self.judge is not None
            self._read[size] = np.concatenate(
                [attributes(self.judge, block) for block in self.rows("image", size).blocks()]
            )
        rows = self._read[size] if task.index is None else self._read[size][task.index]
        return rows[:, self.column(task)] == task.value

    def read_by(self, name: str) -> dict[str, str]:
        """The fields of a result that tell the judge of a metric; {} where there is none."""
        if name not in (*table.SEGMENTED, "attribute_accuracy"):
            return {}
        if self.judge is None:
            return {"network": "the data's own colours"}
        return {"network": f"judge of {self.judge.kind}", "checksum": self.judge.checksum[:16]}

    def small_train(self, size: tuple[int, int]) -> np.ndarray:
        """Training images as `looks.small` makes them."""
        if size not in self._small:
            rows = self.rows("image", size, training=True).some(looks.TRAIN, self.seed)
            self._small[size] = np.concatenate([looks.small(block) for block in rows.blocks()])
        return self._small[size]


class Watch:
    """Looks at images as they pass on to the network: errors against their targets, the classes of their pixels, and some of them themselves."""

    def __init__(self, task: Task, ground: Ground):
        self.task, self.ground = task, ground
        self.size: tuple[int, int] = (0, 0)
        self.errors: dict[str, list[np.ndarray]] = {}
        self.colours: list[np.ndarray] = []
        self.kept: list[np.ndarray] = []
        self._chosen = real.drawn(task.count, looks.KEPT, ground.seed)
        self.confusions: Any = None
        self.mapped = 0

    def __call__(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        first = 0
        for part in images:
            self.size = part.shape[1:3]
            self.kept.append(
                part[
                    self._chosen[(self._chosen >= first) & (self._chosen < first + len(part))]
                    - first
                ]
            )
            self._look(part, first)
            first += len(part)
            yield part

    def _look(self, part: np.ndarray, first: int) -> None:
        task, ground = self.task, self.ground
        for name in table.PAIRED:
            if name in ground.metrics and task.target is not None:
                self.errors.setdefault(name, []).append(
                    getattr(paired, name)(part, task.target.take(first, len(part)))
                )
        if (
            "attribute_accuracy" in ground.metrics
            and not ground.coloured
            and ground.judge is not None
        ):
            right = attributes(ground.judge, part)[:, ground.column(task)] == task.value
            self.errors.setdefault("attribute_accuracy", []).append(right.astype(np.float64))
        if ground.coloured:
            self.colours.append(figures.colours(part))
        if (
            set(table.SEGMENTED) & set(ground.metrics)
            and task.layout is not None
            and task.target is not None
        ):
            true, count = (
                task.layout.take(first, len(part)).astype(np.int64),
                ground.dataset.class_count,
            )
            both = [
                ground.segmenter(images) for images in (part, task.target.take(first, len(part)))
            ]
            new = np.stack(
                [segmentation.confusion(true, found, count, unknown=count) for found in both]
            )
            self.confusions = new if self.confusions is None else self.confusions + new
            self.mapped += int((true != count).any((1, 2)).sum())

    def looks(self) -> Iterator[tuple[str, figures.Figure]]:
        """The figures of `looks`, of the images kept."""
        task, ground, fake = self.task, self.ground, np.concatenate(self.kept)
        own = replace(ground.rows(task.array, self.size), index=task.index).some(
            looks.KEPT, ground.seed
        )
        alike, small = looks.small(own.take(0, len(own))), looks.small(fake)
        yield "diversity", looks.diversity(small, alike)
        if ground.copies:
            yield "memorisation", looks.memorisation(small, alike, ground.small_train(self.size))
        if task.source is not None:
            source = task.source.some(looks.KEPT, ground.seed).take(0, len(fake))
            target = (
                None
                if task.target is None
                else task.target.some(looks.KEPT, ground.seed).take(0, len(fake))
            )
            yield "colour_correlation", looks.colour_correlation(source, fake, target)
