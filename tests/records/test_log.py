"""What a run writes while it trains, and that resuming leaves what an uninterrupted run leaves."""

from __future__ import annotations

import io
import json
import math
import struct
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import RunError
from jaxgan.pictures import images as pictures
from jaxgan.records import log as logging
from jaxgan.records.log import Log, progress_line, read_metrics, read_samples

# -------------------------------------------------------------------------------------------------------------------- images


def test_to_uint8_rounds_and_clips():
    values = np.array(
        [-1.0, 1.0, 0.0, -2.0, 7.0, -1 + 2 * 100.4 / 255, -1 + 2 * 100.6 / 255], np.float32
    ).reshape(1, -1, 1)
    assert pictures.to_uint8(values).ravel().tolist() == [
        0,
        255,
        128,
        0,
        255,
        100,
        101,
    ]  # 127.5 goes to the even 128
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.array_equal(pictures.to_uint8(every / np.float32(127.5) - 1), every), (
        "all 256 levels survive the way there and back"
    )
    assert pictures.to_uint8(jnp.full((1, 1, 1), 0.5, jnp.bfloat16)).item() == 191
    with pytest.raises(ValueError, match="int32"):
        pictures.to_uint8(np.zeros((1, 1, 1), np.int32))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_pixels_are_painted(bad):
    image = np.zeros((2, 2, 4), np.float32)
    image[1, 0, 2] = bad
    pixels = pictures.to_uint8(image)
    assert pixels[1, 0].tolist() == [255, 0, 255, 255]
    assert pixels[0, 0].tolist() == [128, 128, 128, 128]
    grey = np.full((1, 1, 2, 2, 1), -1.0, np.float32)
    grey[0, 0, 0, 1] = bad
    sheet = pictures.tile(grey)
    assert sheet.shape == (900, 900, 3)
    assert sheet[0, 899].tolist() == [255, 0, 255]
    assert sheet[899, 0].tolist() == [0, 0, 0]


def test_tile_places_every_image_and_gap():
    rows, columns = 8, 8
    level = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns, 1, 1, 1)
    sheet = pictures.tile(np.broadcast_to(level, (rows, columns, 8, 8, 1)))
    size = 8 * ((900 - 7 * 2) // 64)  # 8x8 pixels enlarged 13 times
    assert size == 104
    assert sheet.shape == (8 * 104 + 7 * 2, 8 * 104 + 7 * 2, 1)
    for row in range(rows):
        for column in range(columns):
            top, left = row * 106, column * 106
            assert (sheet[top : top + 104, left : left + 104] == row * 8 + column).all()
    assert (sheet[104:106] == 128).all()
    assert (sheet[:, 104:106] == 128).all()


def test_tile_enlarges_by_repetition():
    image = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)
    sheet = pictures.tile(image[None, None, :, :, None])
    assert sheet.shape == (600, 900, 1)
    assert np.array_equal(sheet[150::300, 150::300, 0], image)
    assert np.array_equal(sheet[..., 0], np.kron(image, np.ones((300, 300), np.uint8)))


def test_tile_limits():
    assert pictures.tile(np.zeros((1, 1, 512, 600, 3), np.uint8)).shape == (512, 600, 3), (
        "never made smaller, and whole factors only"
    )
    assert pictures.tile(np.zeros((2, 5, 256, 256, 3), np.uint8)).shape == (514, 5 * 256 + 8, 3)
    assert pictures.tile(np.zeros((100, 1, 16, 16, 1), np.uint8)).shape == (
        100 * 16 + 198,
        16,
        1,
    ), "height is limited too"
    for shape in ((2, 2, 8, 8), (0, 1, 8, 8, 1)):
        with pytest.raises(ValueError, match="rows, columns, H, W, C"):
            pictures.tile(np.zeros(shape))


@pytest.mark.parametrize(
    ("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA"), (7, "RGB")]
)
def test_channels(tmp_path, channels, mode):
    grid = np.linspace(-1, 1, 2 * 500 * 400 * channels, dtype=np.float32).reshape(
        1, 2, 500, 400, channels
    )
    path = pictures.save_png(tmp_path / "deep" / "a.png", pictures.tile(grid))
    with Image.open(path) as image:
        assert image.mode == mode
        pixels = np.asarray(image).reshape(500, 802, -1)
    expected = np.rint((grid[0, :, :, :, : len(mode)].astype(np.float64) + 1) * 127.5)
    assert np.abs(pixels[:, :400] - expected[0]).max() <= 1
    assert np.abs(pixels[:, 402:] - expected[1]).max() <= 1
    gap = pixels[250, 400]
    assert gap[0] == 128
    if mode.endswith("A"):
        assert gap[-1] == 0, "transparent between images that have opacity"
    assert [file.name for file in path.parent.iterdir()] == ["a.png"], "no temporary file stays"


def test_save_png_accepts_floats_and_plain_grey(tmp_path):
    path = pictures.save_png(tmp_path / "grey.png", np.array([[-1.0, 1.0]]), note="a nöte")
    with Image.open(path) as image:
        assert np.asarray(image).tolist() == [[0, 255]]
        assert image.info["Comment"] == "a nöte"
    with pytest.raises(ValueError, match="1 to 4 channels"):
        pictures.save_png(path, np.zeros((2, 2, 5)))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        pictures.save_png(tmp_path / "file" / "a.png", np.zeros((2, 2, 1)))


# ------------------------------------------------------------------------------------------------------------------- metrics


def test_metrics_lines(tmp_path):
    with Log(tmp_path, tensorboard=False) as log:
        log.metrics(64, 1, {"d_loss": jnp.float32(0.5), "g_loss": np.float64(1.25)}, 2.00049)
        assert len(read_metrics(tmp_path)) == 1, "on disk at once, not when the log closes"
        log.metrics(np.int32(128), jnp.int32(2), {"d_loss": math.nan, "g_loss": -math.inf}, 3)
    texts = (tmp_path / "metrics.jsonl").read_text().splitlines()

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    lines = [json.loads(text, parse_constant=refuse) for text in texts]
    assert lines[0] == {
        "images": 64,
        "step": 1,
        "metrics": {"d_loss": 0.5, "g_loss": 1.25},
        "seconds": 2.0,
    }
    assert lines[1]["metrics"] == {"d_loss": "NaN", "g_loss": "-Infinity"}
    back = read_metrics(tmp_path)
    assert math.isnan(back[1]["metrics"]["d_loss"])
    assert back[1]["metrics"]["g_loss"] == -math.inf
    assert (back[1]["images"], back[1]["step"], back[1]["seconds"]) == (128, 2, 3.0)


WHOLE = b'{"images": 64, "step": 1, "metrics": {"d_loss": 0.5}, "seconds": 1.0}\n'


@pytest.mark.parametrize("length", [1, 20, 45, len(WHOLE) - 2])
def test_torn_line_is_passed_over_and_removed(tmp_path, length):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(WHOLE + WHOLE.replace(b"64", b"128")[: length + 1])
    assert [line["images"] for line in read_metrics(tmp_path)] == [64]
    with Log(tmp_path, 1000, tensorboard=False) as log:
        assert path.read_bytes() == WHOLE
        log.metrics(192, 3, {"d_loss": 0.25}, 2.0)
    assert [line["images"] for line in read_metrics(tmp_path)] == [64, 192]


def test_line_without_its_newline_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(WHOLE + WHOLE.replace(b"64", b"128")[:-1])
    with Log(tmp_path, 1000, tensorboard=False) as log:
        assert log.seconds == 1.0
        log.metrics(192, 3, {}, 2.0)
    assert [line["images"] for line in read_metrics(tmp_path)] == [64, 128, 192]


def test_foreign_lines_are_passed_over(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(
        b'\xff\xfe\n3\n[]\n{"images": 1}\n{"images": "x", "step": 1, "metrics": {}, "seconds": 0}\n\n'
        + WHOLE
    )
    assert [line["images"] for line in read_metrics(tmp_path)] == [64]
    assert read_metrics(tmp_path / "nowhere") == []


# -------------------------------------------------------------------------------------------------------------------- resume


def _train(run_dir, start, end, **options):
    """A pretended run: metrics every 64 images, a sheet every 128."""
    with Log(run_dir, start, progress=False, **options) as log:
        clock = log.seconds
        for images in range(start + 64, end + 1, 64):
            clock += 0.5
            log.metrics(
                images, images // 64, {"d_loss": 1 / images, "g_loss": float(images)}, clock
            )
            if images % 128 == 0:
                log.grid(images, np.full((2, 2, 4, 4, 1), images / 1000 - 1, np.float32))


def _files(run_dir):
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }


def _events(run_dir):
    """(step, tag, value or picture) of every event on disk, in order."""
    from tensorboardX.proto.event_pb2 import Event

    files = list((run_dir / "tensorboard").glob("events.out.tfevents.*"))
    assert len(files) == 1, "one event file, like an uninterrupted run"
    stream, found = io.BytesIO(files[0].read_bytes()), []
    while header := stream.read(12):
        event = Event.FromString(stream.read(struct.unpack("<Q", header[:8])[0]))
        stream.read(4)
        found += [
            (
                event.step,
                v.tag,
                v.image.encoded_image_string if v.HasField("image") else v.simple_value,
            )
            for v in event.summary.value
        ]
    return found


@pytest.mark.parametrize("resume_images", [0, 256, 320])
def test_resumed_directory_equals_uninterrupted(tmp_path, resume_images):
    _train(tmp_path / "straight", 0, 640, tensorboard=False)
    _train(tmp_path / "broken", 0, 512, tensorboard=False)
    with open(tmp_path / "broken" / "metrics.jsonl", "a") as file:
        file.write('{"images": 576, "st')
    (tmp_path / "broken" / "samples" / ".00000640.png.tmp").write_bytes(b"half")
    _train(tmp_path / "broken", resume_images, 640, tensorboard=False)
    straight = _files(tmp_path / "straight")
    assert straight == _files(tmp_path / "broken")
    assert sorted(straight) == [
        "metrics.jsonl",
        *(f"samples/{n:08d}.png" for n in range(128, 641, 128)),
    ]
    assert not (tmp_path / "straight" / "tensorboard").exists()


def test_opening_twice_changes_nothing(tmp_path):
    _train(tmp_path, 0, 512, tensorboard=False)
    Log(tmp_path, 256, tensorboard=False).close()
    once = _files(tmp_path)
    assert [line["images"] for line in read_metrics(tmp_path)] == [64, 128, 192, 256]
    assert [images for images, _ in read_samples(tmp_path)] == [128, 256]
    log = Log(tmp_path, 256, tensorboard=False)
    assert log.seconds == 2.0
    log.close()
    log.close()
    assert _files(tmp_path) == once


def test_files_of_others_stay(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("samples/cat.png", "samples/00000999.txt", "notes.md"):
        (tmp_path / name).write_text("mine")
    Log(tmp_path, 0, tensorboard=False).close()
    assert sorted(_files(tmp_path)) == [
        "metrics.jsonl",
        "notes.md",
        "samples/00000999.txt",
        "samples/cat.png",
    ]


@pytest.mark.parametrize("resume_images", [0, 256])
def test_tensorboard_equals_uninterrupted(tmp_path, resume_images):
    pytest.importorskip("tensorboardX")
    _train(tmp_path / "straight", 0, 640)
    _train(tmp_path / "broken", 0, 512)
    (tmp_path / "broken" / "tensorboard" / "events.out.tfevents.1.killed").write_bytes(
        b"left by a killed process"
    )
    _train(tmp_path / "broken", resume_images, 640)
    straight = _events(tmp_path / "straight")
    assert sorted(straight, key=lambda event: event[:2]) == sorted(
        _events(tmp_path / "broken"), key=lambda event: event[:2]
    )
    assert [(step, value) for step, tag, value in straight if tag == "g_loss"] == [
        (n, float(n)) for n in range(64, 641, 64)
    ]
    sheets = {step: value for step, tag, value in straight if tag == "samples"}
    assert sorted(sheets) == [128, 256, 384, 512, 640]
    with Image.open(io.BytesIO(sheets[256])) as image:
        assert image.getpixel((0, 0)) == (round(0.256 * 127.5),) * 3


def test_tensorboard_goes_without_non_finite_values(tmp_path, capfd):
    pytest.importorskip("tensorboardX")
    for resume_images in (0, 64):
        with Log(tmp_path, resume_images) as log:
            log.metrics(resume_images + 64, 1, {"d_loss": math.nan, "g_loss": 1.5}, 1.0)
    assert _events(tmp_path) == [(64, "g_loss", 1.5), (128, "g_loss", 1.5)]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_without_tensorboardx_nothing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    _train(tmp_path, 0, 128)
    assert not (tmp_path / "tensorboard").exists()
    assert capsys.readouterr() == ("", "")


def test_unwritable_directory_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to the run directory .*file"):
        Log(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_one_sentence(tmp_path):
    log = Log(tmp_path, tensorboard=False)
    log._file.close()
    log._file = Path("/dev/full").open("a")  # noqa: SIM115 (the log closes it)
    with pytest.raises(
        RunError, match=r"cannot write /dev/full: No space left on device; free space"
    ):
        log.metrics(64, 1, {"d_loss": 1.0}, 1.0)
    log.close()


# ------------------------------------------------------------------------------------------------------------------ terminal


def test_grid_file_and_note_on_many_channels(tmp_path, capsys):
    grid = np.full((1, 1, 2, 2, 5), -1, np.float32)
    grid[..., 1] = 1
    with Log(tmp_path, tensorboard=False) as log:
        assert log.grid(12800, jnp.asarray(grid)) == tmp_path / "samples" / "00012800.png"
        log.grid(25600, grid)
    with Image.open(tmp_path / "samples" / "00012800.png") as image:
        assert image.getpixel((0, 0)) == (0, 255, 0)
        assert image.info["Comment"] == "channels 1 to 3 of 5 are shown"
    assert (
        capsys.readouterr().err
        == "sample sheets: channels 1 to 3 of 5 are shown, as red, green and blue\n"
    )


def test_progress_line_is_aligned_and_fits():
    first = progress_line(64, 200_000, {"d_loss": 1.38629, "g_loss": 0.7}, 812.34, 245.4)
    later = progress_line(
        128_000, 200_000, {"d_loss": -123456.0, "g_loss": math.nan}, 12345.6, None
    )
    assert (
        first
        == "     64 / 200,000 images   0%      812.3 images/s    0:04:05 left  d_loss      1.386  g_loss        0.7"
    )
    assert (
        later
        == "128,000 / 200,000 images  64%   12,345.6 images/s    -:--:-- left  d_loss -1.235e+05  g_loss        nan"
    )
    assert len(later) == len(first)
    assert "0:00:00 left" in progress_line(5, 5, {}, 1.0, -3.0)
    assert "100:00:01 left" in progress_line(5, 6, {}, 1.0, 360_001)
    narrow = progress_line(
        64, 200_000, {"d_loss": 1.38629, "g_loss": 0.7}, 812.34, 245.4, columns=91
    )
    assert "d_loss" in narrow
    assert "g_loss" not in narrow
    assert len(progress_line(64, 200_000, {}, 812.34, 245.4, columns=20)) == 20


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(logging.time, "monotonic", lambda: self.now)


def test_plain_output_has_one_line_every_ten_seconds_and_the_last(tmp_path, monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Log(tmp_path, tensorboard=False) as log:
        for images in range(1, 26):
            log.progress(images, 25, {}, 1.0, 25.0 - images)
            clock.now += 1.0
    shown = [int(line.split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert shown == [1, 11, 21, 25]
    with Log(tmp_path, tensorboard=False, progress=False) as log:
        log.progress(25, 25, {}, 1.0, 0.0)
        log.message("hello")
    assert capsys.readouterr().err == "hello\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_terminal_has_one_live_line(tmp_path, monkeypatch):
    clock, terminal = Clock(monkeypatch), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    with Log(tmp_path, tensorboard=False) as log:
        log.progress(1, 100, {"d_loss": 1.0}, 10.0, 9.0)
        log.progress(2, 100, {"d_loss": 2.0}, 10.0, 9.0)  # at once: not drawn
        clock.now += 1
        log.progress(3, 100, {}, 10.0, 9.0)
        log.message("saved")
        log.progress(100, 100, {}, 10.0, 0.0)
    lines = terminal.getvalue().split("\n")
    assert len(lines) == 4
    first, second = lines[0].split("\r")[1:]
    assert first.lstrip().startswith("1 / 100")
    assert second.lstrip().startswith("3 / 100")
    assert len(second) == len(first), "the shorter line covers the longer one"
    assert lines[1] == "saved"
    assert lines[2].startswith("\r100 / 100")
    assert lines[3] == ""
