"""`experiments.project`: what is written and read back, and one sentence for what cannot be."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import project as command
from jaxgan import projection, stylegan
from jaxgan.errors import DataError
from jaxgan.pictures.images import save_png
from tests.test_projection import CONFIG, noisy_state


@pytest.fixture(scope="module")
def state():
    return noisy_state()


@pytest.fixture
def run(state, monkeypatch, tmp_path):
    """run(*arguments) with a fresh state as the run's; images a.png and b.png of its own lie in "in"."""
    import jaxgan.checkpoint

    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (stylegan, CONFIG, state))
    for i, name in enumerate("ab"):
        save_png(
            tmp_path / "in" / f"{name}.png", np.random.default_rng(i).uniform(-1, 1, (8, 8, 1))
        )

    def call(*arguments):
        command.main([str(tmp_path), *map(str, arguments)])

    return call


def read(path):
    with Image.open(path) as file:
        return np.asarray(file, np.float32)[..., None] / 127.5 - 1


def test_a_folder_of_images(run, state, tmp_path, capsys):
    """The .npz gives back what makes the image, which is nearer than the first; target and projection side by side."""
    run(tmp_path / "in", tmp_path / "out", "--steps", 30, "--seed", 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.npz",
        "a.png",
        "b.npz",
        "b.png",
    ]
    out = capsys.readouterr().out
    assert f"{tmp_path / 'out' / 'a.npz'} (and .png): distance " in out
    image = read(tmp_path / "in" / "b.png")
    made = jax.jit(projection.render, static_argnums=0)(
        CONFIG, state, *command.load(tmp_path / "out" / "b.npz", state)
    )
    with np.load(tmp_path / "out" / "b.npz") as arrays:
        assert arrays["distances"].shape == (30,)
        assert arrays["distances"][-1] < 0.9 * arrays["distances"][0]
        np.testing.assert_allclose(arrays["image"], made, atol=1e-5)
    with Image.open(tmp_path / "out" / "b.png") as sheet:
        pixels = np.asarray(sheet)
    half = pixels.shape[1] // 2
    assert pixels[1, 1] == np.rint((image[0, 0, 0] + 1) * 127.5)
    assert abs(pixels[1, half + 2] - (float(made[0, 0, 0]) + 1) * 127.5) <= 1


@pytest.mark.slow
def test_the_command_finds_what_project_finds(run, state, tmp_path):
    run(tmp_path / "in", tmp_path / "out", "--steps", 30, "--seed", 3)
    find = jax.jit(projection.project, static_argnums=(0, 4))
    expected = find(
        CONFIG,
        state,
        read(tmp_path / "in" / "b.png"),
        jax.random.key(3),
        projection.Settings(steps=30),
    )
    with np.load(tmp_path / "out" / "b.npz") as arrays:
        np.testing.assert_allclose(arrays["w"], expected.w, atol=1e-3)
        np.testing.assert_allclose(arrays["distances"], expected.distances, rtol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in/none.png", "out"], "does not exist"),
        (
            ["in", "out", "--features", "lpips"],
            "--features must be pyramid, vgg16:FILE or vgg19:FILE, got 'lpips'",
        ),
        (["in", "out", "--features", "vgg16:none.pth"], "there is no file none.pth"),
        (["in", "out", "--label", "1"], "this run has no classes: leave out --label"),
        (["in", "out", "--steps", "0"], "steps must be"),
        (["in", "in"], "a.png is there already"),
        (["in", "in", "--overwrite"], "a.png is there already"),
        (["in/a.png", "in/b.png"], "is a file, and results are files of a folder"),
        (["in/a.png", "in", "out"], "would both become"),
    ],
)
def test_bad_requests_end_with_status_2(run, capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(
            *(
                tmp_path / part if part in ("out",) or part.startswith("in") else part
                for part in arguments
            )
        )
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_family_and_another_projection_are_refused(
    run, state, monkeypatch, capsys, tmp_path
):
    np.savez(tmp_path / "other.npz", w=np.zeros(9, np.float32))
    with pytest.raises(DataError, match="is no projection into this run"):
        command.load(tmp_path / "other.npz", state)
    import jaxgan.checkpoint

    monkeypatch.setattr(
        jaxgan.checkpoint,
        "load",
        lambda folder: (types.SimpleNamespace(__name__="jaxgan.families.dcgan"), CONFIG, {}),
    )
    with pytest.raises(SystemExit):
        run(tmp_path / "in", tmp_path / "out")
    assert (
        capsys.readouterr().err
        == "error: dcgan has no styles to project into: give a run of stylegan\n"
    )
