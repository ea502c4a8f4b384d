"""The copy of a run's log that TensorBoard reads.

Events are written by the thread that trains. tensorboardX's own writer hands them to a thread through a bounded queue; once that thread has
died, of a full disk or of a clock that jumped, the next event but ten waits for it without end.
"""

from __future__ import annotations

import functools
import io
import math
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

FLUSH_SECONDS = 120.0
"""Most time that an event waits in memory, as tensorboardX has it."""
_LAST_STEP = 2**63 - 1


class Mirror:
    """An event file that scalars and sheets are copied to.

    The first event that cannot be written ends the copy: `say` is told once, and later calls do nothing.

    Args:
      folder: where the file goes; made if it does not exist.
      say: shows one line to the person who trains.

    Raises ImportError where tensorboardX is not installed.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]):
        import tensorboardX  # noqa: F401 (so that a missing package is found here, not at the first event)

        self.folder, self._say = folder, say
        self._file: BinaryIO | None = None
        self._flushed = -math.inf  # the first event goes to the disk at once
        self._attempt(self._open)

    def scalars(
        self, metrics: Mapping[str, float], images: int, walltime: float | None = None
    ) -> None:
        """Copy metrics measured after `images` images. Of non-finite ones TensorBoard draws nothing; metrics.jsonl has them."""
        for name, value in metrics.items():
            if math.isfinite(value):
                self._add(functools.partial(_scalar_summary, name, value), images, walltime)

    def sheet(self, path: Path, images: int, walltime: float | None = None) -> None:
        """Copy the PNG sheet `path`. One that is damaged or not a sheet of ours is left out."""
        try:
            image = _as_colour(path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return
        self._add(functools.partial(_image_summary, *image), images, walltime)

    def close(self) -> None:
        """Write what is left, and close the file. May be called twice."""
        if self._file is not None:
            self._attempt(self._file.close)
            self._file = None

    def _open(self) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._file = open(self.folder / name, "wb")  # noqa: SIM115 (closed by `close`)
        self._write(Event(file_version="brain.Event:2", wall_time=time.time()))

    def _add(self, summary: Callable[[], Any], images: int, walltime: float | None) -> None:
        if self._file is not None and 0 <= images <= _LAST_STEP:
            self._attempt(lambda: self._write(_event(summary(), images, walltime)))

    def _write(self, event: Any) -> None:
        """Append a TFRecord: length, its checksum, the bytes, their checksum."""
        from tensorboardX.record_writer import masked_crc32c

        assert self._file is not None
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        for part in (length, content):
            self._file.write(part + struct.pack("<I", masked_crc32c(part)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # a copy is not worth a run, whatever is wrong with it
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            self._file = None
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            after = "training goes on, metrics.jsonl and samples/ stay complete, and the next start of the run writes the copy anew"
            self._say(
                f"warning: TensorBoard's copy of the log in {self.folder} ends here ({reason}): {after}"
            )


def _event(summary: Any, images: int, walltime: float | None) -> Any:
    from tensorboardX.proto.event_pb2 import Event

    return Event(
        summary=summary, step=images, wall_time=time.time() if walltime is None else walltime
    )


def _as_colour(path: Path) -> tuple[bytes, tuple[int, int], int]:
    """(PNG in colour, its width and height, channels) of a sheet; grey ones are encoded again."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.load()
        mode = image.mode
        if mode not in ("RGB", "RGBA"):
            colour, mode = io.BytesIO(), "RGBA" if mode == "LA" else "RGB"
            image.convert(mode).save(colour, "PNG")
            content = colour.getvalue()
        return content, image.size, len(mode)


def _scalar_summary(name: str, value: float) -> Any:
    from tensorboardX import summary

    return summary.scalar(name, value)


def _image_summary(encoded: bytes, size: tuple[int, int], channels: int) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    image = Summary.Image(
        width=size[0], height=size[1], colorspace=channels, encoded_image_string=encoded
    )
    return Summary(value=[Summary.Value(tag="samples", image=image)])
