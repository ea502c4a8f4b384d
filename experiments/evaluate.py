"""How good a model's images are, in figures that say what they depend on.

    python -m experiments.evaluate runs/cgan-mnist                                        # the figures usual for the family
    python -m experiments.evaluate runs/faces --metrics fid kid --network inception:pt_inception.pth --samples 50000
    python -m experiments.evaluate runs/maps --checkpoint best --split val
    python -m experiments.evaluate --images photos samples --network vgg16:vgg16.pth      # two folders, or any two specs
    python -m experiments.evaluate --compare runs/a/evaluations.jsonl runs/b/evaluations.jsonl

Beside each figure stands its floor, what real images get for it: training images against held-out ones, or two halves where nothing was held out.
Results are appended to evaluations.jsonl of the run, one line of JSON each; two are compared only if they were measured in the same way.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.support import runs
from experiments.support.common import names, one_sentence_errors, seed
from jaxgan.errors import DataError, RunError, require
from jaxgan.family import conditioning

RESIZES = ("cover", "stretch", "width")


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate a run or files, or compare results, and print a table. Leaves with status 2 and one sentence where that is impossible."""
    options = _parser().parse_args(arguments)
    with one_sentence_errors():
        asked = [options.run is not None, options.images is not None, options.compare is not None]
        require(
            sum(asked) == 1,
            "name a run directory, or two sets of images by --images, or two files of results by --compare, and only one of these",
        )
        if options.compare:
            print(compared(*options.compare))
            return
        from jaxgan.metrics.result import RESULTS_FILE, append_results

        results = of_files(options) if options.images else of_run(options)
        print(table(results))
        out = options.out or (options.run / RESULTS_FILE if options.run else None)
        if out is not None:
            append_results(out, results)


def of_run(options: argparse.Namespace) -> list[Any]:
    """The results of the model in a run directory."""
    from jaxgan import data
    from jaxgan.data.naming import matched
    from jaxgan.metrics import real
    from jaxgan.metrics.measure import evaluator
    from jaxgan.records.rundir import read_json

    family, config, state = runs.load(options.run, options.checkpoint, family=options.family)
    named = runs.names(options.run, options.checkpoint)
    known = read_json(options.run / "config.json") or {}
    spec: str = options.data or known.get("data", "")
    require(
        bool(spec), f"{options.run} does not say what it was trained on: name real images by --data"
    )
    crop = known.get("augment", {}).get("crop", 0)
    form = real.form_of(family, config, crop) | {
        "resize": options.resize or "cover",
        "skip_bad": options.skip_bad,
    }
    if not options.data and not options.resize:
        form = as_trained(options.run, spec, known.get("fingerprint"), form)
    dataset, split = real.open_real(spec, options.split, **form)
    dataset = matched(dataset, named, str(options.run))
    data.check(dataset, family.batch_spec(config, 1), conditioning(family, config), crop=crop)
    train = (
        data.open(spec, split="train", **form)
        if split not in ("train", "all") and real.has_split(spec, "train")
        else None
    )
    train = None if train is None else matched(train, named, str(options.run))
    settings = {
        name: getattr(options, name)
        for name in ("network", "samples", "seed", "truncation", "judge")
    }
    return evaluator(
        family, config, dataset, names(options.metrics), split=split, train=train, **settings
    )(state)


def as_trained(
    run: Path, spec: str, fingerprint: str | None, form: dict[str, Any]
) -> dict[str, Any]:
    """The form in which the training images are those of the run, told by their fingerprint: how they were resized is not in its config.

    Raises DataError where they are not in any form.
    """
    from jaxgan import data

    forms = [form | {"resize": resize} for resize in RESIZES] + [form | {"image_size": None}]
    for each in forms:
        with contextlib.suppress(
            DataError
        ):  # some forms do not apply: "width" wants images of one height then
            if fingerprint in (None, data.open(spec, split="train", **each).fingerprint):
                return each
    data.open(spec, split="train", **form)  # where it cannot be opened at all, says why
    raise DataError(
        f"{spec} does not hold what {run} was trained on: name real images by --data, or say by --resize how to bring these to its size"
    )


def of_files(options: argparse.Namespace) -> list[Any]:
    """The results of images in files against real ones."""
    from jaxgan import data
    from jaxgan.metrics.measure import evaluate_files

    def opened(channels: int | None) -> list[Any]:
        return [_open(data, name, channels, options) for name in options.images]

    real, fake = _alike(opened) if options.channels is None else opened(options.channels)
    return evaluate_files(
        fake, real, names(options.metrics), network=options.network, seed=options.seed
    )


def _alike(opened: Callable[[int | None], list[Any]]) -> list[Any]:
    """Both sets with as many channels: as they are, or as RGB where grey pictures are among those in colour.

    Raises DataError where that is no remedy.
    """
    try:
        sets = opened(None)
    except DataError as error:
        try:
            sets = opened(3)
        except DataError:
            raise error from None
        print("pictures with different numbers of channels are compared as RGB", file=sys.stderr)
        return sets
    return sets if len({each.channels for each in sets}) == 1 else opened(3)


def _open(data: Any, name: str, channels: int | None, options: argparse.Namespace) -> Any:
    """A set by its spec, or a folder or archive by its path; of folders without splits, and unless asked otherwise, everything."""
    path = Path(name).expanduser()
    spec = f"{'zip' if path.is_file() else 'folder'}:{name}" if path.exists() else name
    size = None if options.image_size is None else tuple(options.image_size)
    form = {
        "image_size": size,
        "channels": channels,
        "resize": options.resize or "cover",
        "skip_bad": options.skip_bad,
    }
    return data.open(spec, split=options.split or "all", **form)


def table(results: Sequence[Any]) -> str:
    """Results as text: metric, subject, value with its standard error, floor, and of how many images."""
    first = results[0]
    after = "" if first.checkpoint is None else f", after {first.checkpoint:,} images"
    cut = "" if first.truncation is None else f", truncation {first.truncation:g}"
    lines = [f"{first.data}, split {first.split or 'as named'}, seed {first.seed}{cut}{after}"]
    lines += sorted(
        {
            f"features of {one.network} ({one.checksum}; {one.resize})"
            for one in results
            if one.network
        }
    )
    subject = max([len(one.subject) for one in results] + [7])
    lines.append(
        f"{'metric':<20} {'subject':<{subject}} {'value':>11} {'+-':>9} {'real':>11} {'images':>16}"
    )
    for one in results:
        error, floor = (
            "" if value is None else f"{value:.{digits}g}"
            for value, digits in ((one.standard_error, 2), (one.floor, 5))
        )
        count = f"{one.generated:,} / {one.real:,}"
        lines.append(
            f"{one.metric:<20} {one.subject:<{subject}} {one.value:>11.5g} {error:>9} {floor:>11} {count:>16}"
        )
    if any(one.floor_counts and not one.floor_compares for one in results):
        lines.append(
            "real: where real images are too few, of fewer than are generated, such as two halves; with as many, fid and the like would be lower"
        )
    return "\n".join(lines)


def compared(first: Path, second: Path) -> str:
    """The figures that two files of results share, the last of each, and how much higher the second's are. Raises ValueError where they are unlike."""
    from jaxgan.metrics.result import compare, read_results

    sides = []
    for path in (first, second):
        if not path.is_file():
            raise RunError(
                f"there is no file {path}: name a file of results, such as RUN/evaluations.jsonl"
            )
        sides.append({(one.metric, one.subject): one for one in read_results(path)})
    shared = [key for key in sides[0] if key in sides[1] and key[0] != "evaluation_seconds"]
    require(
        bool(shared),
        f"{first} and {second} have no figure in common: evaluate both with the same --metrics",
    )
    lines = [f"{'metric':<20} {'subject':<16} {'first':>11} {'second':>11} {'difference':>11}"]
    for key in shared:
        a, b = (side[key] for side in sides)
        lines.append(
            f"{key[0]:<20} {key[1]:<16} {a.value:>11.5g} {b.value:>11.5g} {compare(a, b):>+11.4g}"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate",
        description=(__doc__ or "").strip(),
        formatter_class=form,
    )
    parser.add_argument("run", type=Path, nargs="?", help="run directory")
    runs.add_family(parser)
    parser.add_argument(
        "--images",
        nargs=2,
        metavar=("REAL", "GENERATED"),
        help="instead of a run: two folders, archives or specs",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar="FILE",
        help="instead of evaluating: two files of results",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=(),
        help="such as fid kid precision recall (default: what is usual for the family)",
    )
    networks = "digits, mnist, fashion_mnist, inception:FILE, vgg16:FILE, vgg19:FILE or judge:FILE"
    parser.add_argument("--network", help=f"{networks} (default: the data's, of the first three)")
    parser.add_argument(
        "--judge",
        help="file of a trained judge of attributes or of label maps, for attribute_accuracy, miou and pixel_accuracy",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=10_000,
        help="images made, at most; translators make one for each real image (default: 10000)",
    )
    parser.add_argument(
        "--checkpoint",
        default="newest",
        help="newest, best, or the number of one (default: newest)",
    )
    parser.add_argument(
        "--data", help="spec of the real images (default: what the run was trained on)"
    )
    parser.add_argument(
        "--split", help="of the real images (default: test, val or train, the first there is)"
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="decides the generated images, and the halves of real ones that are compared (default: 0)",
    )
    parser.add_argument(
        "--truncation", type=float, help="stylegan: how far styles go from their mean"
    )
    parser.add_argument(
        "--channels",
        type=int,
        choices=(1, 3, 4),
        help="of --images: compare as grey, RGB or RGBA (default: RGB where they differ)",
    )
    parser.add_argument(
        "--resize",
        choices=RESIZES,
        help="how real images come to the model's size (default: as in training; of other --data: cover)",
    )
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="of --images: bring both sets to this size",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip unreadable images rather than stop at them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="file that the results are appended to (default: evaluations.jsonl of the run)",
    )
    return parser


if __name__ == "__main__":
    main()
