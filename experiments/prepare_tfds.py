"""Prepare a TensorFlow Datasets set once, in the form that `tfds:NAME` reads without TensorFlow.

    python -m experiments.prepare_tfds fashion_mnist --data-dir ~/tensorflow_datasets [--manual-dir FOLDER_OF_DOWNLOADED_FILES]

Needs the extra `[tfds]`: downloading and encoding go through TensorFlow, reading does not. Imports nothing of jaxgan, so that it also
runs in an environment that holds TensorFlow but not JAX (TensorFlow has no wheel for Python 3.14).
"""

from __future__ import annotations

import argparse
from pathlib import Path


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def prepare(
    name: str, data_dir: str | None = None, manual_dir: str | None = None, debug: bool = False
) -> str:
    """Prepare `name` as array_record and return the folder it lies in.

    Args:
      name: NAME[/CONFIG], as in `tfds:NAME[/CONFIG]`.
      data_dir: where prepared sets live; None: TFDS_DATA_DIR, else TFDS's own default (~/tensorflow_datasets).
      manual_dir: folder of files downloaded by hand, under the names that TFDS expects; used where the checksum matches,
        downloaded otherwise.

    Raises SystemExit with one sentence where something is missing.
    """
    try:
        import tensorflow  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise SystemExit(
            f"preparing needs TensorFlow ({_first_line(error)}): pip install 'jaxgan[tfds]', on Python 3.11 to 3.13"
        ) from None
    if manual_dir and not Path(manual_dir).is_dir():
        raise SystemExit(
            f"{manual_dir} is not a folder: name the folder that holds the downloaded files"
        )
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        # Never from the bucket of prepared sets: those are tfrecord files, which cannot be read at random.
        config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
        builder.download_and_prepare(file_format="array_record", download_config=config)
    except Exception as error:
        if debug:
            raise
        raise SystemExit(
            f"{name} could not be prepared: {type(error).__name__}: {_first_line(error)} (--debug shows where)"
        ) from None
    return str(builder.data_path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.prepare_tfds", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("name", help="NAME[/CONFIG] of a set in TensorFlow Datasets")
    parser.add_argument(
        "--data-dir",
        help="where prepared sets live (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--manual-dir",
        help="folder of files downloaded by hand; their names and checksums must be the ones TFDS expects",
    )
    parser.add_argument("--debug", action="store_true", help="show the whole error")
    options = parser.parse_args(arguments)
    print(prepare(options.name, options.data_dir, options.manual_dir, options.debug))


if __name__ == "__main__":
    main()
