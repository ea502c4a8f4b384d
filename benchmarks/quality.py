"""Train every family for a limited time, measure what it makes, and write the tables of docs/results.md.

    python -m benchmarks.quality --list                                                      the rows, and the command behind each
    python -m benchmarks.quality --data-folder DIR --rows dcgan-fashion --seconds 600        train, score, append to benchmarks/results/quality.jsonl
    python -m benchmarks.quality --data-folder DIR                                           all rows that are not there yet
    python -m benchmarks.quality --tables                                                    only write the tables again

DIR holds mnist/, fashion-mnist/ (IDX files), maps/ (pairs side by side), camvid/ (images and label maps) and utkface.zip, those that the rows need. A row is
trained by the command of its family, in a process of its own that is stopped by SIGTERM when its time is over, compilation included, and scored as far as
it got: its last checkpoint, and of up to --looks checkpoints the best by the row's first figure. The choice is made on the images that the figure is
then given for, so "best" flatters a little. Stopped at any moment, the same command goes on where it was. Rows called -pytorch are the same training by
`benchmarks.train_pytorch`, after the row they are named for: to as many images as that has seen, however long it takes.

One line a figure: the fields of `jaxgan.metrics.result.Result`, and row, which ("last", "best", or the name of a baseline), command, seconds, device, cores.
"""

from __future__ import annotations

import json
import platform
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks import quality_tables, quality_training, record
from benchmarks.quality_rows import ROWS, Row
from experiments.support.judge_training import without_folders
from jaxgan.errors import require

ROOT = quality_training.ROOT


def run(
    data_folder: Path = Path("data"),
    rows: tuple[str, ...] = (),
    seconds: float = 600,
    work: Path = Path("runs/quality"),
    results: Path = ROOT / "benchmarks/results/quality.jsonl",
    docs: Path = ROOT / "docs/results.md",
    network: str = "",
    looks: int = 4,
    seed: int = 0,
    again: bool = False,
    list: bool = False,
    tables: bool = False,
) -> None:
    """Train, measure, write tables.

    Args:
        data_folder: Folder of the data sets.
        rows: Names of rows; all if none.
        seconds: Time that a row is trained for, of wall clock.
        work: Folder of runs and judges; what is there is gone on with.
        results: File of lines to append to.
        docs: Page whose tables, between markers, are written.
        network: Feature network for rows that have none of their own, such as inception:FILE.
        looks: Checkpoints scored at most, evenly spread, the last one among them.
        seed: Of training and of what is sampled.
        again: Measure rows that are there already, once more.
        list: Only list the rows.
        tables: Only write the tables.
    """
    unknown = [name for name in rows if name not in ROWS]
    require(not unknown, f"there are no rows {', '.join(unknown)}: the rows are {', '.join(ROWS)}")
    require(seconds > 0 and looks > 0, "seconds and looks must be above 0")
    chosen = {name: ROWS[name] for name in rows or ROWS}
    if list:
        for name, row in chosen.items():
            print(
                f"{name:<24} {shlex.join(quality_training.command(name, row, data_folder, work, seed))}"
            )
        return
    for name, row in {} if tables else chosen.items():
        there = [
            line for line in quality_tables.read(results) if line["which"] in quality_tables.SCORED
        ]  # baselines have no seed
        if not again and any(line["row"] == name and line["seed"] == seed for line in there):
            print(f"{name}: measured already (--again measures it once more)", flush=True)
            continue
        lines = measured(name, row, data_folder, work, seconds, network, looks, results, seed)
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    quality_tables.write(docs, quality_tables.read(results))


# -------------------------------------------------------------------------------------------------------------------- scoring


def measured(
    name: str,
    row: Row,
    data_folder: Path,
    work: Path,
    seconds: float,
    network: str,
    looks: int,
    results: Path,
    seed: int,
) -> list[dict[str, Any]]:
    """Train a row, and every figure of it as a line."""
    from benchmarks import quality_scores
    from jaxgan.metrics import judges, table, tasks
    from jaxgan.metrics.feature_networks import open_network
    from jaxgan.metrics.measure import default_network

    if "{work}/utkface.zip" in row.data:
        quality_training.split_faces(data_folder / "utkface.zip", work / "utkface.zip")
    judge = (
        judges.open_judge(quality_training.judge_file(row.judge, data_folder, work))
        if row.judge
        else None
    )
    model = quality_training.trained(
        name, row, data_folder, work, seconds, seed, quality_tables.read(results)
    )
    family, config, numbers = model.family, model.config, spread(model.numbers, looks)
    own = quality_scores.network_of(judge, row.judge) if judge is not None else None
    place = {
        "row": name,
        "table": row.table,
        "command": shlex.join(model.told),
        "seconds": model.seconds,
        **device(),
    }
    found: dict[int, Any] = {}
    real, train_set = opened(
        family, config, row, quality_training.spec(row.data, data_folder, work)
    )
    own = own or open_network(network or default_network(row.data))
    score = quality_scores.scorer(
        row, family, config, real, train_set, own, judge, seed, model.made
    )
    for number in numbers:
        print(f"{name}: scoring the checkpoint at {number} images", flush=True)
        found[number] = score(model.state(number))
    first = quality_scores.measurable(row, own)[0]
    best = quality_tables.best(
        {
            number: [one.value for one in results if one.metric == first]
            for number, results in found.items()
        },
        table.METRICS[first].lower,
    )
    lines = [
        line(place, which, one)
        for which, number in (("last", numbers[-1]), ("best", best))
        for one in found[number]
    ]
    if row.size != (0, 0) and not row.rival:
        ways = tuple(task.subject for task in tasks.make_tasks(family, config, real, 2, seed, {}))
        plain = {**place, "command": "", "seconds": 0.0}
        for how, one in quality_scores.baselines(row, train_set, real, own, ways):
            lines.append(line(plain, how, one))
    return lines


def line(place: dict[str, Any], which: str, result: Any) -> dict[str, Any]:
    """A result as it is kept."""
    fields = json.loads(result.to_json())
    return {**place, "which": which, **fields, "data": without_folders(fields["data"])}


def opened(family: Any, config: Any, row: Row, data: str) -> tuple[Any, Any]:
    """(the held-out images, those of training), both as the model sees them."""
    from jaxgan import data as sets
    from jaxgan.metrics.real import form_of

    options = form_of(family, config) | {"resize": "stretch" if row.size != (0, 0) else "cover"}
    return sets.open(data, split=row.split, **options), sets.open(data, **options)


def spread(numbers: list[int], count: int) -> list[int]:
    """At most `count` of the checkpoints, evenly, the last always."""
    count = min(count, len(numbers))
    return sorted(
        {numbers[-1 - (i * (len(numbers) - 1)) // max(1, count - 1)] for i in range(count)}
    )


def device() -> dict[str, Any]:
    """What it ran on."""
    import jax

    return {
        "device": jax.devices()[0].device_kind,
        "cpu": record.cpu_model(),
        "cores": record.cores(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    import tyro

    from experiments.support.common import check_seed, one_sentence_errors

    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # as an exception, so that the command under way is stopped too
    with one_sentence_errors():
        check_seed()
        tyro.cli(run, prog="python -m benchmarks.quality", description=__doc__)
