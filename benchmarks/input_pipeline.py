"""How fast images come, and how long a training step waits for them: `python -m benchmarks.input_pipeline`.

    python -m benchmarks.input_pipeline                                 both of what follows
    python -m benchmarks.input_pipeline sources                         images/s of each way to hold a set: 2,000 JPEG files of 256x256
    python -m benchmarks.input_pipeline sources --images 200 --image-size 64 64
    python -m benchmarks.input_pipeline waits                           share of the time that training waits for data; the digits presets
    python -m benchmarks.input_pipeline waits --preset all --source mapped stream    every preset of every family, for an accelerator
    python -m benchmarks.input_pipeline waits --preset all --image-size 64 64 --batch 2 --seconds 5    the same, scaled down for a CPU

Data is synthetic: smooth random images, of the preset's size with the margin of its crop. Files are in the system's file cache. Lines go to
benchmarks/results/input_pipeline.jsonl.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks import cases, record
from benchmarks.columns import digits
from experiments.support.common import one_sentence_errors
from experiments.support.memory import keep_freed
from jaxgan import data
from jaxgan.data import images, streaming
from jaxgan.data.dataset import Dataset
from jaxgan.errors import require
from jaxgan.family import conditioning
from jaxgan.run import feed

NAME = "input_pipeline"
TARGET = 0.03
"""Most of the time that waiting for data should take."""
SOURCES = ("resident", "mapped", "stream")
DISTINCT = 64
"""Different images of a synthetic set: the others repeat them."""


def pictures(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth random images, uint8 [count, H, W, C], which a JPEG makes about as small as it makes photographs."""
    random, (height, width, channels) = np.random.default_rng(seed), shape
    made = np.empty((count, *shape), np.uint8)
    for i, coarse in enumerate(
        random.integers(0, 256, (count, max(2, height // 8), max(2, width // 8), channels)).astype(
            np.uint8
        )
    ):
        made[i] = (
            images.resize(coarse, (height, width), "stretch")
            if channels in images.CHANNELS
            else random.integers(0, 256, shape)
        )
    return made


def encoded(image: np.ndarray) -> bytes:
    """An image [H, W, 1 or 3] as a JPEG file of quality 90."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
        buffer, "JPEG", quality=90
    )
    return buffer.getvalue()


# -------------------------------------------------------------------------------------------------------------------- sources


def sources(
    count: int, size: tuple[int, int], batch: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """Measure a folder of `count` JPEG files: its first use, which decodes it into the cache, and batches of it, ready for a step, in each way to hold it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        files = [encoded(image) for image in pictures(min(DISTINCT, count), (*size, 3))]
        for i in range(count):
            (folder / f"{i:06d}.jpg").write_bytes(files[i % len(files)])
        open_set = functools.partial(
            data.open, f"folder:{folder}", cache_dir=Path(place) / "cache", progress=False
        )
        begin = time.perf_counter()
        kept = open_set()
        passed = time.perf_counter() - begin
        about = {
            "name": "folder of JPEG files",
            "image_size": list(size),
            "set": count,
            "file_bytes": int(np.mean([len(file) for file in files])),
        }
        yield {
            **about,
            "source": "first use",
            "images": count,
            "shown": count,
            "seconds": round(passed, 3),
            "images_per_s": round(count / passed, 1),
        }
        for source in SOURCES:
            dataset = open_set(stream=True) if source == "stream" else kept
            done, passed = _batches(dataset, batch, source == "resident", seconds)
            yield {
                **about,
                "source": source,
                "images": batch,
                "shown": done,
                "seconds": round(passed, 3),
                "images_per_s": round(done / passed, 1),
            }


def _batches(dataset: Dataset, batch: int, resident: bool, seconds: float) -> tuple[int, float]:
    """(images, seconds) of batches on the device, normalised and mirrored, for about so many seconds after the first two."""
    spec = {"image": jax.ShapeDtypeStruct((batch, *dataset.arrays["image"].shape[1:]), np.float32)}
    source = feed.Feed(dataset, spec, 0, 0, 1, resident=resident)
    arrays, key = source.arrays(), jax.random.key(0)

    @jax.jit
    def ready(arrays: Any, inputs: Any) -> Any:
        rows = {name: leaf[0] for name, leaf in inputs.items()}
        chosen = {name: array[rows[name]] for name, array in arrays.items()} if resident else rows
        return data.prepare(chosen, key, 0, data.Augment(flip=True))["image"]

    calls, done, begin = source.calls(0), -2, 0.0
    while done < 1 or time.perf_counter() - begin < seconds:
        jax.block_until_ready(ready(arrays, next(calls)))
        done += 1
        if done == 0:
            begin = time.perf_counter()
    passed = time.perf_counter() - begin
    calls.close()
    return done * batch, passed


# ---------------------------------------------------------------------------------------------------------------------- waits


def synthetic(case: cases.Case, margin: int, source: str, place: Path) -> Dataset:
    """A set for a case, of 1,024 examples (256 where they are large): arrays mapped from files in `place`, or decoded from JPEG files in memory.

    Args:
      margin: by how many pixels images are larger than the case's, both ways.
    """
    random, spec = np.random.default_rng(0), case.family.batch_spec(case.config, case.batch_size)
    count = max(2 * case.images, 256 if max(case.config.image_size) > 64 else 1024)
    arrays: dict[str, Any] = {}
    for name, wanted in spec.items():
        shape = tuple(wanted.shape[1:])
        if len(shape) >= 2:
            shape = (shape[0] + margin, shape[1] + margin, *shape[2:])
        if len(shape) != 3:
            top, kind = (
                (case.config.classes, np.uint8)
                if len(shape) == 2
                else (2, np.uint8 if name == "attributes" else np.int32)
            )
            arrays[name] = random.integers(0, top, (count, *shape)).astype(kind)
        elif source == "stream" and shape[2] in (1, 3):
            arrays[name] = streaming.Streamed(
                _decoder([encoded(image) for image in pictures(DISTINCT, shape)]),
                0,
                (count, *shape),
                np.dtype(np.uint8),
            )
        else:
            distinct = pictures(DISTINCT, shape)
            mapped = np.memmap(place / f"{name}.raw", np.uint8, "w+", shape=(count, *shape))
            for i in range(count):
                mapped[i] = distinct[i % DISTINCT]
            mapped.flush()
            arrays[name] = mapped
    return Dataset(
        "synthetic",
        arrays,
        independent="a" in case.family.batch_spec(case.config, 1)
        and not conditioning(case.family, case.config).paired,
    )


def _decoder(files: list[bytes]) -> Callable[[int], tuple[np.ndarray, ...]]:
    return lambda row: (images.decode(files[row % len(files)]),)


def waits(case: cases.Case, augment: data.Augment, source: str, seconds: float) -> dict[str, Any]:
    """Train for about so many seconds after the first two calls, as `jaxgan.run.loop` does, and say what share of the time went into waiting for data."""
    with tempfile.TemporaryDirectory() as place:
        dataset = synthetic(case, augment.crop, source, Path(place))
        spec = case.family.batch_spec(case.config, case.batch_size)
        given = feed.Feed(dataset, spec, 0, 0, case.steps, resident=source == "resident")
        state, key = cases.initial_state(case.family, case.config), jax.random.key(0)
        arrays, calls = given.arrays(), given.calls(0)
        inputs = next(calls)
        prepare = functools.partial(
            data.prepare, augment=augment, sizes=given.sizes, aligned=given.aligned
        )
        pure = functools.partial(feed.program, case.family, case.config, given.resident, prepare)
        compiled = feed.compile_program(pure, None, None, (state, arrays, inputs, key))
        done, waited, begin, before = -2, 0.0, 0.0, None
        while done < 1 or time.perf_counter() - begin < seconds:
            state, metrics = compiled(state, arrays, inputs, key)
            jax.device_get(before)  # of the call before, as in training: this one runs meanwhile
            asked, before = time.perf_counter(), metrics
            inputs = next(calls)
            waited += time.perf_counter() - asked
            done += 1
            if done == 0:
                jax.block_until_ready(
                    state
                )  # or the step in flight would count as one of those that follow
                begin, waited = time.perf_counter(), 0.0
        jax.block_until_ready(state)
        passed = time.perf_counter() - begin
        calls.close()
    shown = done * case.steps * case.images
    times = {
        "calls": done,
        "steps_per_call": case.steps,
        "ms_per_step": round(1e3 * passed / done / case.steps, 3),
        "images_per_s": round(shown / passed, 1),
    }
    about = {
        "name": case.name,
        "source": source,
        "image_size": list(case.config.image_size),
        "images": case.images,
    }
    return {
        **about,
        **times,
        "wait_share": round(waited / passed, 5),
        "wait_ms_per_step": round(1e3 * waited / done / case.steps, 4),
    }


def wanted(options: argparse.Namespace) -> Iterator[tuple[cases.Case, data.Augment]]:
    """The cases that the command line asks for, and how their presets augment. Of all, those that cannot have the size asked for are left out, by name."""
    for family in options.family or cases.FAMILIES:
        found = cases.presets(family)
        for preset in found if options.preset == "all" else [options.preset]:
            try:
                case = cases.case(family, preset, options.batch, "", options.image_size)
            except ValueError as error:
                require(options.preset == "all", str(error))
                print(f"{family} {preset} left out: {error}")
                continue
            if getattr(case.config, "features", "none") != "none":
                print(
                    f"{family} {preset} without its perceptual loss, whose weights are in a file: steps are shorter, so that waits weigh more"
                )
                case = case._replace(config=dataclasses.replace(case.config, features="none"))
            yield case, found[preset].augment


def main(arguments: list[str] | None = None) -> None:
    """Parse options, measure, print, append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("sources", "waits", "both"), default="both")
    parser.add_argument("--images", type=int, default=2000, help="sources: files in the folder")
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="sources: default 256 256; waits: instead of the preset's",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=0,
        help="images of a batch; sources: default 32; waits: instead of the preset's",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="how long to measure each, compiling aside"
    )
    parser.add_argument(
        "--family", nargs="+", default=[], choices=cases.FAMILIES, help="waits: only these"
    )
    parser.add_argument(
        "--preset", default="digits", help="waits: this preset of each family, or all"
    )
    parser.add_argument(
        "--source",
        nargs="+",
        choices=SOURCES,
        default=["resident", "mapped"],
        help="waits: where the set is",
    )
    parser.add_argument(
        "--out", type=Path, default=record.RESULTS, help="folder of the results files"
    )
    options = parser.parse_args(arguments)
    with one_sentence_errors():
        require(
            min(options.images, options.seconds) > 0 and options.batch >= 0,
            "--images, --seconds and --batch must be positive",
        )
        keep_freed()  # as the experiments do
        if options.what != "waits":
            report_sources(options)
        if options.what != "sources":
            report_waits(options)


def report_sources(options: argparse.Namespace) -> None:
    """Measure, print and record `sources`."""
    batch = options.batch or 32
    for found in sources(
        options.images, tuple(options.image_size or (256, 256)), batch, options.seconds
    ):
        print(f"{found['source']:<18} {found['images_per_s']:>12,.0f} images/s", flush=True)
        record.append(NAME, found, record.provenance(batch=batch, dtype="uint8"), options.out)


def report_waits(options: argparse.Namespace) -> None:
    """Measure, print and record `waits`."""
    for case, augment in wanted(options):
        for source in options.source:
            found = waits(case, augment, source, options.seconds)
            verdict = "" if found["wait_share"] < TARGET else f"   more than {TARGET:.0%}"
            rate = f"{found['ms_per_step']:>10.2f} ms a step {digits(found['images_per_s']):>10} images/s"
            print(
                f"{case.name:<24}{source:<9}{rate}   waits {found['wait_share']:.2%}{verdict}",
                flush=True,
            )
            record.append(
                NAME, found, record.provenance(case.config, batch=case.batch_size), options.out
            )
        jax.clear_caches()


if __name__ == "__main__":
    main()
