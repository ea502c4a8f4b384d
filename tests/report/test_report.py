"""report.html: what it shows, that it is one well-formed file that needs nothing else, and the command that writes it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.report import main
from jaxgan.errors import RunError
from jaxgan.pictures import images as pictures
from jaxgan.records.log import Log, read_metrics
from jaxgan.report import curves, hints
from jaxgan.report import writing as report

NAMES = (
    "d_loss",
    "g_loss",
    "real_accuracy",
    "fake_accuracy",
    "real_logits",
    "r1",
    "gradient_penalty",
    "fid",
)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Every tag is closed in its order; collects attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def pictures(self):
        sources = [value for name, value in self.attributes if name == "src"]
        return [
            Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) for source in sources
        ]


def _page(run_dir):
    text = report.write(run_dir).read_text(encoding="utf-8")
    assert not re.search(
        r"https?:|//|<script|@import|url\(|<link", re.sub(r'src="data:[^"]*"', "", text)
    ), "nothing is fetched from anywhere"
    return Page(text)


def _run(run_dir, lines=40, sheets=3):
    run_dir.mkdir(exist_ok=True)
    settings = {
        "image_size": [8, 6],
        "generator_optimizer": {"learning_rate": 0.0002},
        "loss": "hinge",
    }
    config = {"family": "dcgan", "config": settings, "batch_size": 64}
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / "environment.json").write_text(
        json.dumps({"jax": "0.10.9", "device_kind": "<b>cpu & co</b>"})
    )
    with Log(run_dir, tensorboard=False, progress=False) as log:
        for k in range(1, lines + 1):
            log.metrics(
                64 * k,
                k,
                {name: 0.5 + 0.01 * k * i / lines for i, name in enumerate(NAMES)},
                0.25 * k,
            )
        for k in range(1, sheets + 1):
            log.grid(64 * k, np.full((1, 2, 8, 6, 3), 2 * k / sheets - 1, np.float32))
    return run_dir


def test_page_shows_the_run(tmp_path):
    run = _run(tmp_path / "my run")
    page = _page(run)
    text = "\n".join(page.texts)
    for name in NAMES:
        assert name in text
    for shown in (
        "dcgan: my run",
        "learning_rate",
        "0.0002",
        "8, 6",
        "0.10.9",
        "2,560 images in 40 rounds, 10.0 s of training.",
        "256.0 images/s",
    ):
        assert shown in text
    assert "<b>cpu & co</b>" in page.texts, "escaped: it arrives as text, not as tags"
    assert page.tags.count("svg") == 6, "losses, accuracies, logits, penalties, fid, images/s"
    assert [picture.size for picture in page.pictures] == [
        (2 * 6 * 74 + 2, 8 * 74),
        (480, 319),
        (480, 319),
    ]
    assert [picture.getpixel((5, 5)) for picture in page.pictures] == [
        (255,) * 3,
        (85,) * 3,
        (170,) * 3,
    ], "the latest first, then the others by age"
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "report.html",
        "samples",
    ]


def test_everything_from_files_is_escaped(tmp_path):
    evil = '"><img src=x onerror=alert(1)><b>'
    run = tmp_path / "a<b>&c"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"family": evil, evil: {evil: [evil]}}))
    (run / "environment.json").write_text(json.dumps({evil: evil}))
    with Log(run, tensorboard=False) as log:
        log.metrics(1, 1, {evil: math.nan, evil + "_loss": 1.0}, 1.0)
    page = _page(run)
    assert "img" not in page.tags
    assert "b" in page.tags, "the legend's own"
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert f"{evil}: a<b>&c" in page.texts


@pytest.mark.parametrize("missing", ["config.json", "environment.json", "metrics.jsonl", "samples"])
def test_missing_and_damaged_parts_are_left_out(tmp_path, missing):
    run = _run(tmp_path / "run")
    path = run / missing
    if path.is_dir():
        for sheet in path.iterdir():
            sheet.write_bytes(sheet.read_bytes()[:40])
    else:
        path.write_text('{"images": 3, "st')
    damaged = _page(run)
    if path.is_file():
        path.unlink()
    absent = _page(run)
    headings = {
        "config.json": "Settings",
        "environment.json": "Environment",
        "metrics.jsonl": "Metrics",
        "samples": "x",
    }
    assert headings[missing] not in absent.texts
    assert [text for text in damaged.texts if "Written" not in text] == [
        text for text in absent.texts if "Written" not in text
    ]
    assert len(absent.pictures) == (0 if missing == "samples" else 3)


def test_empty_directory_gives_a_page(tmp_path):
    page = _page(tmp_path)
    assert "No metrics yet." in page.texts
    assert "Too few values yet to judge the curves." in page.texts
    with pytest.raises(RunError, match=r"there is no run directory .*nowhere"):
        report.write(tmp_path / "nowhere")


def test_one_line_and_constant_values(tmp_path):
    with Log(tmp_path, tensorboard=False) as log:
        log.metrics(0, 0, {"d_loss": 0.0}, 0.0)
    assert "d_loss" in map(str.strip, _page(tmp_path).texts)
    with Log(tmp_path, tensorboard=False) as log:
        log.metrics(64, 1, {"d_loss": 0.0, "huge": 3e38, "tiny": 1e-38, "nan": math.nan}, 0.0)
    page = _page(tmp_path)
    assert {"huge", "tiny", "nan"} <= set(page.texts)
    assert "not finite" in page.texts
    assert not any(
        "nan" in value or "inf" in value
        for name, value in page.attributes
        if name in ("d", "x", "y")
    )


def test_last_non_finite_value_is_named(tmp_path):
    with Log(tmp_path, tensorboard=False) as log:
        log.metrics(64, 1, {"d_loss": math.inf, "g_loss": 1.0}, 1.0)
        log.metrics(128, 2, {"d_loss": 1.0, "g_loss": math.nan}, 2.0)
        log.metrics(192, 3, {"d_loss": 1.0, "g_loss": 1.0}, 3.0)
    texts = _page(tmp_path).texts
    assert "Not finite at 128 images: g_loss." in texts
    assert any(text.startswith("Not finite at some point: d_loss, g_loss. Try") for text in texts)


# ------------------------------------------------------------------------------------------------------------------- figures


def test_speed_and_time_over_sessions():
    def lines(*pairs):
        return [
            {"images": images, "step": 0, "metrics": {}, "seconds": seconds}
            for images, seconds in pairs
        ]

    images, rate = report.images_per_second(
        lines((100, 1.0), (300, 2.0), (300, 2.0), (400, 0.5), (600, 1.0))
    )
    assert images.tolist() == [300, 600]
    assert rate.tolist() == [200.0, 400.0]
    assert report.total_seconds(lines((100, 1.0), (300, 2.0), (400, 0.5), (600, 1.0))) == 3.0
    assert report.total_seconds([]) == 0.0


def test_smooth_is_a_bias_corrected_average():
    assert curves.smooth(np.full(400, 3.0)) == pytest.approx(3.0)
    values = np.random.default_rng(0).normal(size=200)
    decay = 1 - 1 / 5
    for n in (1, 2, 200):
        weights = decay ** np.arange(n)[::-1]
        assert curves.smooth(values)[n - 1] == pytest.approx(
            (weights * values[:n]).sum() / weights.sum()
        )


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 4, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-4.7, 4.2, 4, [-4, -2, 0, 2, 4]),
        (0, 153600, 5, [0, 20e3, 40e3, 60e3, 80e3, 100e3, 120e3, 140e3]),
    ],
)
def test_ticks(low, high, count, expected):
    assert curves.ticks(low, high, count) == pytest.approx(expected)


def test_chart_places_points():
    x, y = np.array([0.0, 50.0, 100.0]), np.array([0.0, 1.0, 0.5])
    svg = curves.chart("Accuracies", {"real_accuracy": (x, y)}, percent=True)
    path = re.search(r'class="bold s0" d="M([^"]*)"', svg).group(1)
    points = [tuple(map(float, point.split())) for point in path.split("L")]
    left, right, top, bottom = (
        curves.LEFT,
        curves.WIDTH - curves.RIGHT,
        curves.TOP,
        curves.HEIGHT - curves.BOTTOM,
    )
    assert points == [(left, bottom), ((left + right) / 2, top), (right, (top + bottom) / 2)], (
        "three points are not smoothed"
    )
    assert "<b>50.0%</b>" in svg


def test_long_curves_keep_their_outline():
    y = np.zeros(50_000)
    y[31_234] = 1.0
    svg = curves.chart("x", {"x_accuracy": (np.arange(50_000.0), y)}, percent=True)
    raw = re.search(r'class="raw s0" d="M([^"]*)"', svg).group(1).split("L")
    assert len(raw) <= curves.MAX_POINTS
    spike = [point for point in raw if float(point.split()[1]) == curves.TOP]
    assert len(spike) == 1
    assert float(spike[0].split()[0]) == pytest.approx(
        curves.LEFT + 31_234 / 49_999 * (curves.WIDTH - curves.RIGHT - curves.LEFT), abs=0.06
    )


def test_spikes_do_not_flatten_the_axis():
    y = np.random.default_rng(0).uniform(0, 1, 1000)
    y[500] = 1e6
    low, high = curves._range([y])
    assert -0.1 < low < 0
    assert 1 < high < 1.5
    assert curves._range([np.array([1.0, 9.0])]) == pytest.approx((0.68, 9.32)), (
        "two values are no spikes"
    )


# --------------------------------------------------------------------------------------------------------------------- hints


def _hints(rate=1.0, losses=(), **metrics):
    x = np.arange(90.0)
    series = {
        name: (x, np.broadcast_to(np.asarray(value, float), x.shape))
        for name, value in metrics.items()
    }
    return hints.find_hints(series, (x, np.broadcast_to(np.asarray(rate, float), x.shape)), losses)


RISING = np.linspace(0, 1, 90)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"d_loss": 1.0, "real_accuracy": 0.8, "fake_accuracy": 0.8}, "Nothing unusual"),
        (
            {"real_accuracy": 0.99, "fake_accuracy": 1.0},
            "nearly always (99% of real and 100% of generated",
        ),
        (
            {"real_accuracy_a": 0.99, "fake_accuracy_a": 1.0},
            "The discriminator (real_accuracy_a) tells",
        ),
        ({"real_accuracy": 1.0, "fake_accuracy": 0.97}, "Nothing unusual"),
        ({"real_accuracy": 0.5, "fake_accuracy": 0.55}, "close to guessing"),
        (
            {"real_accuracy": 1.0, "fake_accuracy": 0.01},
            "right about 100% of real and 1% of generated",
        ),
        ({"real_class_accuracy": 1.0, "fake_class_accuracy": 1.0}, "Nothing unusual"),
        (
            {"real_accuracy": 1.0, "fake_accuracy": 1.0, "losses": ("wasserstein",)},
            "Nothing unusual",
        ),
        ({"real_accuracy": 1.0, "fake_accuracy": 1.0, "losses": ("hinge",)}, "nearly always"),
        ({"fake_logits": -80.0}, "fake_logits has drifted to -80"),
        ({"g_loss": np.where(np.arange(90) == 3, np.nan, 1.0)}, "Not finite at some point: g_loss"),
        ({"fid": 30 + 40 * (RISING - 0.5) ** 2 + 20 * RISING}, "fid was best (34.6"),
        ({"fid": 50 - 20 * RISING}, "Nothing unusual"),
        ({"d_loss": 1.0, "rate": 1000 - 500 * RISING}, "slowed down"),
    ],
)
def test_hints(metrics, expected):
    hints = _hints(**metrics)
    assert len(hints) == 1
    assert expected in hints[0] or (
        expected.startswith("fid") and hints[0].startswith("fid was best")
    )


def test_losses_are_found_in_nested_settings():
    config = {
        "config": {"loss": "wasserstein", "parts": [{"loss": "hinge"}], "loss_weight": "x"},
        "loss": 3,
    }
    assert hints.losses_used(config) == {"wasserstein", "hinge"}
    assert hints.losses_used({}) == set()


# ------------------------------------------------------------------------------------------------------------------ pictures


def test_sheets_are_few_and_spread(tmp_path):
    with Log(tmp_path, tensorboard=False) as log:
        for k in range(100):
            log.grid(64 * k, np.full((1, 1, 2, 2, 1), -1 + k / 100, np.float32))
    page = _page(tmp_path)
    shown = [
        int(text.split()[0].replace(",", "")) // 64
        for text in page.texts
        if re.fullmatch(r"[0-9,]+ images", text)
    ]
    assert len(shown) == len(page.pictures) == report.MAX_SHEETS
    assert shown[:2] == [99, 0]
    assert shown[-1] == 98
    assert set(np.diff(shown[1:])) <= {4, 5}
    assert page.pictures[2].getpixel((0, 0)) == round((shown[2] / 100) * 127.5)


def test_embedded_pictures_keep_their_cap(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1500, 4), dtype=np.uint8)
    path = pictures.save_png(tmp_path / "noise.png", noise, note="three of nine")
    source, note = pictures.data_uri(path, 1200, 150_000)
    kind, content = re.fullmatch(r"data:image/(png|webp);base64,(.*)", source).groups()
    content = base64.b64decode(content)
    picture = Image.open(io.BytesIO(content))
    assert len(content) <= 150_000 < path.stat().st_size
    assert picture.format == kind.upper()
    assert picture.width <= 1200
    assert picture.width / picture.height == pytest.approx(1.5, abs=0.02)
    assert note == "three of nine"
    small = pictures.save_png(tmp_path / "small.png", np.full((4, 5, 2), 77, np.uint8))
    source, note = pictures.data_uri(small, 1200, 150_000)
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))),
        np.full((4, 5, 2), 77),
    )
    assert note == ""


def test_note_of_many_channels_is_shown(tmp_path):
    with Log(tmp_path, tensorboard=False) as log:
        log.grid(1280, np.zeros((1, 1, 4, 4, 9), np.float32))
    assert "1,280 images; channels 1 to 3 of 9 are shown" in _page(tmp_path).texts


# ------------------------------------------------------------------------------------------------------------------- command


def test_command(tmp_path, capsys):
    run = _run(tmp_path / "run", lines=2, sheets=0)
    assert main([str(run)]) == 0
    assert capsys.readouterr() == (f"{run / 'report.html'}\n", "")
    assert len(read_metrics(run)) == 2
    (tmp_path / "photos").mkdir()
    for other, words in (
        ("nowhere", "there is no run directory"),
        ("photos", "is not the directory of a run"),
    ):
        assert main([str(tmp_path / other)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err
        assert err.count("\n") == 1
        assert not (tmp_path / other / "report.html").exists()


def test_command_as_a_module(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "experiments.report", str(tmp_path / "nowhere")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("there is no run directory")
    assert done.stderr.count("\n") == 1
