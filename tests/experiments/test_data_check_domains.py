from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from experiments import data_check


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def facts(capsys, *arguments):
    data_check.main([str(argument) for argument in arguments])
    lines = capsys.readouterr().out.splitlines()
    return {line[:13].strip(): line[13:] for line in lines if not line.startswith(" ")}


def save(path, value, size=(4, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), value).save(path)


def test_pairs(capsys, tmp_path):
    for i in range(3):
        save(tmp_path / "set" / "A" / f"{i}.png", (10 + i, 20, 30))
        save(tmp_path / "set" / "B" / f"{i}.png", 90 + i, mode="L")
    save(tmp_path / "set" / "B" / "x.png", 0, mode="L")
    found = facts(capsys, f"paired:{tmp_path / 'set'}", "--skip-bad")
    assert found["kind"] == "paired: 3 pairs"
    assert found["domain a"] == "3 images, 4x6, 3 channels, uint8, 10 to 30 of 0 to 255"
    assert found["domain b"] == "3 images, 4x6, 1 channel, uint8, 90 to 92 of 0 to 255"
    assert found["skipped"] == "1"
    assert found["cache"].startswith(str(tmp_path / "cache"))
    assert "classes" not in found


def test_unpaired_at_a_size(capsys, tmp_path):
    for domain, count in (("trainA", 2), ("trainB", 3)):
        for i in range(count):
            save(tmp_path / "set" / domain / f"{i}.png", (50, 60, 70), size=(8, 12 + 4 * i))
    found = facts(
        capsys,
        f"unpaired:{tmp_path / 'set'}",
        "--image-size",
        4,
        5,
        "--channels",
        1,
        3,
        "--resize",
        "stretch",
    )
    assert found["kind"] == "unpaired: each domain is shuffled on its own"
    grey = round(0.299 * 50 + 0.587 * 60 + 0.114 * 70)
    assert found["domain a"] == f"2 images, 4x5, 1 channel, uint8, {grey} to {grey} of 0 to 255"
    assert found["domain b"] == "3 images, 4x5, 3 channels, uint8, 50 to 70 of 0 to 255"


def test_digits(capsys):
    found = facts(capsys, "unpaired:digits?task=outline", "--split", "test")
    assert found["domain a"] == "149 images, 16x16, 3 channels, uint8, 0 to 255 of 0 to 255"
    assert found["domain b"].startswith("148 images")


def test_one_sentence_for_what_cannot_be_used(capsys, tmp_path):
    save(tmp_path / "set" / "odd.png", 0, size=(4, 7))
    with pytest.raises(SystemExit) as caught:
        data_check.main([f"paired:{tmp_path / 'set'}"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 1 of 1 images of paired:")
    assert "odd.png is 7 pixels wide: A and B side by side need an even width" in error
    assert error.count("\n") == 1


def test_the_range_of_sixteen_bits():
    image = np.array([[[[7]]], [[[60000]]]], np.uint16)
    assert data_check._range(image) == "7 to 60000 of 0 to 65535"
