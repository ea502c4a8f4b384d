"""Writes the report of a run anew: `python -m experiments.report RUN`, while it trains or afterwards. Prints the path of the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jaxgan import report
from jaxgan.errors import RunError
from jaxgan.records.log import METRICS_FILE


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status: 0, or 2 if there is no run to report on."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Write report.html of a run and print its path.",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="directory of a run, finished or still training"
    )
    run = parser.parse_args(arguments).run
    try:
        if run.is_dir() and not any(
            (run / name).is_file() for name in ("config.json", METRICS_FILE)
        ):
            raise RunError(
                f"{run} is not the directory of a run: it has neither config.json nor {METRICS_FILE}; give the one that --run named"
            )
        path = report.write(run)
    except RunError as error:
        print(error, file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
