"""`tfds:NAME[/CONFIG]`: sets prepared by TensorFlow Datasets as array_record, read without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data.filenames import split_of
from jaxgan.data.images import CHANNELS, BadImage
from jaxgan.data.source import CACHE_NAME, Source
from jaxgan.errors import DataError


def source(spec: str, name: str, data_dir: str | None, split: str) -> Source:
    """Source over `as_data_source`. Splits are TFDS's own, slices such as "train[:50%]" included; "all" joins them.

    Args:
      data_dir: None: TFDS_DATA_DIR, else TFDS's default (~/tensorflow_datasets).

    Raises DataError: unknown name, not prepared (with the command that does it) or prepared as tfrecord, no image among its features.
    """
    try:
        import tensorflow_datasets as library
    except ImportError as error:
        raise DataError(
            f"{spec} needs tensorflow-datasets ({error}): pip install tensorflow-datasets importlib_resources"
        ) from None
    builder = _builder(library, spec, name, data_dir)
    records, parts = _records(builder, spec, split, _command(name, data_dir))
    image, label = _features(library, builder, spec)

    labels = (
        None if label is None else np.full(len(records), -1, np.int32)
    )  # known once the records have been read

    def read(i: int) -> np.ndarray:
        try:
            example = records[i]
        except (
            Exception
        ) as error:  # a damaged record: array_record, protobuf and Pillow each have their own types
            raise BadImage(f"cannot be read ({type(error).__name__}: {str(error)[:200]})") from None
        if labels is not None:
            labels[i] = example[label]
            if labels[i] < 0:
                raise BadImage(f"has the label {labels[i]}, which stands for none")
        return _pixels(np.asarray(example[image]))

    folder = Path(builder.data_path)
    prepared = folder.is_dir()  # it is not where TFDS is mocked, in tests: nothing to cache
    stamp = (
        [
            [path.name, path.stat().st_size, path.stat().st_mtime_ns]
            for path in sorted(folder.iterdir())
            if path.is_file()
        ]
        if prepared
        else None
    )
    names = [f"example {i} of {parts}" for i in range(len(records))]
    classes = () if label is None else _class_names(builder.info.features[label])
    return Source(
        spec,
        names,
        read,
        labels,
        classes,
        stamp,
        folder / CACHE_NAME if prepared else None,
        identity=f"tfds {parts}",
    )


def domain_splits(name: str, split: str) -> tuple[str, str] | None:
    """The splits of domains A and B that "train", "test" or "all" of CycleGAN's sets stand for; None for other sets and splits."""
    if name.replace(":", "/").partition("/")[0] != "cycle_gan" or split not in (
        "train",
        "test",
        "all",
    ):
        return None
    parts = ("train", "test") if split == "all" else (split,)
    return "+".join(f"{part}A" for part in parts), "+".join(f"{part}B" for part in parts)


def _command(name: str, data_dir: str | None) -> str:
    return f"python -m experiments.prepare_tfds {name}" + (
        f" --data-dir {data_dir}" if data_dir else ""
    )


def _builder(library: Any, spec: str, name: str, data_dir: str | None):
    try:
        return library.builder(name, data_dir=data_dir)
    except Exception as error:  # DatasetNotFoundError, ValueError for a config, ImportError where a builder needs TensorFlow, ...
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{spec} cannot be opened by TensorFlow Datasets ({lines[0]}): see its catalogue for names and configs"
        ) from None


def _records(builder: Any, spec: str, split: str, command: str):
    """The random-access records of a split, and the split as TFDS writes it."""
    if Path(builder.data_path).is_dir() or builder.is_prepared():
        kind = getattr(builder.info.file_format, "value", "array_record")
        if kind != "array_record":
            raise DataError(
                f"{spec} was prepared as {kind}, which cannot be read at random: prepare it again with `{command}`"
            )
        names = list(builder.info.splits)
        split = _named(split, names)
        if (
            split != "all"
            and names
            and split.partition("[")[0].strip() not in names
            and "+" not in split
        ):
            raise DataError(f"{spec} has no split {split!r}: its splits are {', '.join(names)}")
        split = "+".join(names) if split == "all" else split
    try:
        records = builder.as_data_source(split)
    except (
        Exception
    ) as error:  # where nothing is prepared, TFDS says NotImplementedError about tfrecord
        if Path(builder.data_path).is_dir():
            raise DataError(
                f"{spec} cannot be read ({type(error).__name__}: {str(error).strip().splitlines()[:1]})"
            ) from None
        raise DataError(
            f"{spec} is not prepared in {builder.data_path}: run `{command}` once (needs the extra [tfds])"
        ) from None
    if len(records) == 0:
        raise DataError(f"{spec} holds no examples in split {split!r}")
    return records, split


def _named(split: str, known: list[str]) -> str:
    """Return the split as TFDS calls it, "validation" for "val", where one of `known` means it; else as it is."""
    meant = [
        name for name in known if split_of(name) is not None and split_of(name) == split_of(split)
    ]
    return meant[0] if split not in known and len(meant) == 1 else split


def _features(library: Any, builder: Any, spec: str) -> tuple[str, str | None]:
    """Names of the image feature and of the label feature (None where there is none)."""
    features = dict(builder.info.features)
    pictures = [key for key, feature in features.items() if type(feature) is library.features.Image]
    if "image" not in pictures and len(pictures) != 1:
        raise DataError(
            f"{spec} has {len(pictures) or 'no'} image features ({', '.join(features)}); a set of images with one is needed"
        )
    labels = [
        key for key, feature in features.items() if isinstance(feature, library.features.ClassLabel)
    ]
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else None
    return ("image" if "image" in pictures else pictures[0]), label


def _class_names(feature: Any) -> tuple[str, ...]:
    return tuple(feature.names or map(str, range(feature.num_classes or 0)))


def _pixels(image: np.ndarray) -> np.ndarray:
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.ndim != 3
        or image.shape[2] not in CHANNELS
    ):
        raise BadImage(
            f"is {image.dtype} {'x'.join(map(str, image.shape))}; uint8 or uint16 with 1, 3 or 4 channels is needed"
        )
    return image
