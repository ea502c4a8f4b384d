"""TensorBoard's copy must never hold up or end a run."""

from __future__ import annotations

import math
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan.records.log import Log, read_metrics
from jaxgan.records.tensorboard import Mirror
from tests.records.test_log import _events

pytest.importorskip("tensorboardX")


def test_no_thread_writes_events(tmp_path):
    before = set(threading.enumerate())
    with Log(tmp_path, progress=False) as log:
        for i in range(40):
            log.metrics(i, i, {"loss": float(i)}, float(i))
        log.grid(40, np.zeros((1, 1, 4, 4, 3), np.float32))
        assert set(threading.enumerate()) <= before
    assert _events(tmp_path)[:40] == [(i, "loss", float(i)) for i in range(40)]


@pytest.mark.parametrize("dies", ["at once", "by an error"])
def test_a_dead_writer_of_tensorboardx_does_not_block(tmp_path, monkeypatch, dies):
    from tensorboardX import event_file_writer

    def run(self):
        if dies == "by an error":
            raise SystemExit

    monkeypatch.setattr(event_file_writer._EventLoggerThread, "run", run)
    with Log(tmp_path, progress=False) as log:
        for i in range(50):
            log.metrics(i, i, dict.fromkeys("abcdefgh", 1.0), float(i))
    assert len(read_metrics(tmp_path)) == 50


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("when", ["an event", "the end"])
def test_a_full_disk_ends_the_copy_with_one_warning(tmp_path, capsys, when):
    with Log(tmp_path) as log:
        log._mirror._file.close()
        log._mirror._file = open("/dev/full", "wb", 1 << 20)  # noqa: SIM115 (the log closes it)
        log._mirror._flushed = -math.inf if when == "an event" else math.inf
        for i in range(20):
            log.metrics(i, i, {"loss": 1.0}, float(i))
        log.grid(20, np.zeros((1, 1, 4, 4, 1), np.float32))
        early = capsys.readouterr().err
    late = capsys.readouterr().err
    said, silent = (early, late) if when == "an event" else (late, early)
    assert said.count("\n") == 1
    assert "(No space left on device): training goes on" in said
    assert silent == ""
    assert len(read_metrics(tmp_path)) == 20
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["00000020.png"]


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file in its place")
    with Log(tmp_path) as log:
        for i in range(3):
            log.metrics(i, i, {"loss": 1.0}, float(i))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(
        f"warning: TensorBoard's copy of the log in {tmp_path / 'tensorboard'} ends here (File exists): training goes on"
    )


def test_a_broken_package_is_one_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX.summary", None)
    monkeypatch.delattr("tensorboardX.summary")
    with Log(tmp_path) as log:
        for i in range(3):
            log.metrics(i, i, {"loss": 1.0}, float(i))
    assert capsys.readouterr().err.count("\n") == 1
    assert len(read_metrics(tmp_path)) == 3


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_sheets_of_every_mode_are_copied_in_colour(tmp_path, mode):
    (tmp_path / "samples").mkdir()
    Image.new(mode, (3, 2)).save(tmp_path / "samples" / "00000008.png")
    said = []
    mirror = Mirror(tmp_path / "tensorboard", said.append)
    mirror.sheet(tmp_path / "samples" / "00000008.png", 8)
    mirror.close()
    ((step, tag, _),) = _events(tmp_path)
    assert (step, tag, said) == (8, "samples", [])


def test_damaged_sheets_and_counts_out_of_range_are_left_out(tmp_path):
    (tmp_path / "samples").mkdir()
    whole = tmp_path / "whole.png"
    Image.new("RGB", (64, 64), (1, 2, 3)).save(whole)
    for i, content in enumerate(
        (b"", b"\x89PNG\r\n\x1a\n", whole.read_bytes()[:-30], b"GIF89a" + bytes(40))
    ):
        (tmp_path / "samples" / f"0000000{i}.png").write_bytes(content)
    (tmp_path / "samples" / f"{2**70}.png").write_bytes(whole.read_bytes())
    with Log(tmp_path, 2**80) as log:
        log.metrics(5, 1, {"loss": 1.0}, 1.0)
    assert _events(tmp_path) == [(5, "loss", 1.0)]
