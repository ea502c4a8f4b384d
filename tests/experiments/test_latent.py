"""`experiments.latent`: what is decoded, against a model whose codes are the pixels themselves, and one sentence for what cannot be."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import latent as command
from experiments import project
from experiments.support import latent_codes
from jaxgan import data, projection
from jaxgan.family import Conditioning
from tests.families_under_test import CASES
from tests.test_projection import CONFIG as STYLES
from tests.test_projection import noisy_state

SIZE = (3, 4)
PIXELS = np.random.default_rng(0).integers(0, 256, (200, *SIZE, 1)).astype(np.uint8)
LABELS = np.sort(np.arange(200) % 3)
ATTRIBUTES = np.stack([np.arange(200) % 2, np.arange(200) % 5 == 0], axis=1).astype(np.uint8)


def encode(config, state, images):
    """A code is the pixels in a row; its log-variance is not looked at."""
    return images.reshape(len(images), -1), np.nan


def decode(config, state, codes):
    assert len(codes) == latent_codes.CHUNK
    return codes.reshape(len(codes), *SIZE, 1)


def latents(config, key, n):
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (12,)))(jnp.arange(n))


def labelled(config, state, codes, labels):
    """The label instead of the first pixel."""
    return decode(config, state, codes).at[:, 0, 0, 0].set(labels)


FAMILY = types.SimpleNamespace(
    encode=encode,
    decode=decode,
    reconstruct=None,
    latents=latents,
    generate=decode,
    __name__="jaxgan.families.vaegan",
)
CONFIG = types.SimpleNamespace(image_size=SIZE, channels=1, latent_size=12)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(*arguments) -> the array the command wrote, with the pixels above as its data."""
    import jaxgan.checkpoint

    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (FAMILY, CONFIG, {}))
    classes = data.from_arrays("classes", PIXELS, LABELS, ("ant", "bee", "cat"))
    sets = {"classes": classes, "plain": data.from_arrays("plain", PIXELS)}
    sets["attributes"] = data.dataset.with_attributes(sets["plain"], ATTRIBUTES, ("Odd", "Fifth"))
    monkeypatch.setattr("jaxgan.data.open", lambda spec, image_size, channels: sets[spec])

    def call(action, *arguments, out=tmp_path / "out.npy"):
        command.main([str(tmp_path), action, str(out), *map(str, arguments)])
        return np.load(out) if out.suffix == ".npy" else out

    return call


def as_floats(pixels):
    return pixels.astype(np.float64) / 127.5 - 1


def codes_of(seed, n):
    return np.stack(
        [jax.random.normal(jax.random.fold_in(jax.random.key(seed), i), (12,)) for i in range(n)]
    ).astype(np.float64)


def test_strips_between_samples_are_arcs(run):
    """From one code of the prior to the next, evenly in angle and in length; every sample is used once, and the number of strips changes none."""
    grid = run("interpolate", "--n", 40, "--steps", 5, "--seed", 3)
    assert grid.shape == (40, 5, *SIZE, 1)
    starts, ends = codes_of(3, 80).reshape(40, 2, 12).swapaxes(0, 1)
    walked = grid.reshape(40, 5, 12)
    np.testing.assert_allclose(walked[:, [0, -1]], np.stack([starts, ends], 1), atol=1e-6)
    lengths = np.linalg.norm(walked, axis=-1)
    np.testing.assert_allclose(
        lengths, np.linspace(lengths[:, 0], lengths[:, -1], 5, axis=1), rtol=1e-5
    )
    units = walked / lengths[..., None]
    angles = np.arccos(np.sum(units[:, :-1] * units[:, 1:], axis=-1))
    whole = np.arccos(np.sum(units[:, 0] * units[:, -1], axis=-1))
    np.testing.assert_allclose(angles, np.broadcast_to(whole[:, None] / 4, (40, 4)), rtol=1e-3)
    np.testing.assert_array_equal(run("interpolate", "--n", 2, "--steps", 5, "--seed", 3), grid[:2])


def test_straight_strips(run):
    grid = run("interpolate", "--n", 3, "--steps", 5, "--seed", 3, "--path", "line")
    codes = codes_of(3, 6).reshape(3, 2, *SIZE, 1)
    for column, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        np.testing.assert_allclose(
            grid[:, column], (1 - share) * codes[:, 0] + share * codes[:, 1], atol=1e-6
        )


def test_the_way_between_codes_that_have_no_arc():
    """The same direction twice, opposite ones, and none: a line."""
    starts = np.array([[1, 0], [1, 0], [0, 0]], np.float32)
    ends = np.array([[3, 0], [-1, 0], [2, 0]], np.float32)
    found = latent_codes.between(starts, ends, np.array([0, 0.5, 1]), "arc")
    np.testing.assert_allclose(found[:, 1], [[2, 0], [0, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(
        latent_codes.between(starts[:1], np.array([[0, 3.0]]), np.array([0.5]), "arc"),
        [[[2 * 0.5**0.5] * 2]],
        atol=1e-6,
    )


def test_strips_of_classes(run, monkeypatch, tmp_path):
    """Each strip is of one class, the classes in turn."""
    import jaxgan.checkpoint

    told = Conditioning("class", 4, latent_range=(0.0, 1.0))
    functions = {"latents": latents, "generate": labelled, "conditioning": lambda config: told}
    family = types.SimpleNamespace(**functions, __name__="jaxgan.families.cgan")
    config = types.SimpleNamespace(**vars(CONFIG), classes=4)
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (family, config, {}))
    grid = run("interpolate", "--n", 3, "--steps", 5, "--labels", 3, 1)
    assert (grid[:, :, 0, 0, 0] == np.array([[3], [1], [3]])).all()
    np.testing.assert_allclose(
        grid[:, 2, 1], codes_of(0, 6).reshape(3, 2, *SIZE, 1).mean(1)[:, 1], atol=1e-6
    )  # uniform latents: straight
    with Image.open(run("interpolate", "--n", 2, "--steps", 3, out=tmp_path / "walk.gif")) as film:
        assert film.n_frames == 6
        assert film.width > 2 * SIZE[1]


@pytest.mark.parametrize("ending", ["gif", "webp", "apng"])
def test_an_animation(run, tmp_path, monkeypatch, ending):
    """A closed tour of three samples in twelve frames, four to a leg, enlarged; frames are those of the tour."""
    monkeypatch.setattr(
        FAMILY, "generate", lambda config, state, codes: 0.3 * decode(config, state, codes)
    )
    out = run(
        "interpolate",
        "--n",
        3,
        "--steps",
        4,
        "--path",
        "line",
        "--frames-per-second",
        25,
        out=tmp_path / f"walk.{ending}",
    )
    codes = codes_of(0, 3)
    ends = np.roll(codes, -1, axis=0)
    expected = np.concatenate(
        [codes[i] + np.arange(4)[:, None] / 4 * (ends[i] - codes[i]) for i in range(3)]
    )
    with Image.open(out) as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (12, (512, 384), 0)
        for i in (0, 5, 11):
            film.seek(i)
            pixels = np.asarray(film.convert("L"))[64::128, 64::128].reshape(12)
            np.testing.assert_allclose(
                pixels, np.clip(0.3 * expected[i] + 1, 0, 2) * 127.5, atol=1.01
            )
        assert film.info["duration"] == 40


def test_a_walk_in_w(monkeypatch, tmp_path):
    """Of StyleGAN: straight in w, ends as the samples with constant noise, and the middle of truncation 0 is the mean; in z the same ends."""
    import jaxgan.checkpoint
    from jaxgan import stylegan

    state = noisy_state()
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (stylegan, STYLES, state))

    def walk(*flags):
        command.main(
            [
                str(tmp_path),
                "interpolate",
                str(tmp_path / "out.npy"),
                "--n",
                "2",
                "--steps",
                "3",
                "--seed",
                "4",
                *flags,
            ]
        )
        return np.load(tmp_path / "out.npy")

    z = stylegan.latents(STYLES, jax.random.key(4), 4)

    @jax.jit
    def images(w):
        return stylegan.synthesise(STYLES, state, jnp.broadcast_to(w[:, None], (len(w), 4, 8)))

    w = jax.jit(lambda z: stylegan.styles_of(STYLES, state, z, truncation=0.5)[:, 0])(z)
    grid = walk("--truncation", "0.5")
    np.testing.assert_allclose(grid[:, 0], images(w[::2]), atol=1e-5)
    np.testing.assert_allclose(grid[:, 1], images((w[::2] + w[1::2]) / 2), atol=1e-5)
    by_latents = walk("--truncation", "0.5", "--space", "z")
    np.testing.assert_allclose(by_latents[:, [0, 2]], grid[:, [0, 2]], atol=1e-5)
    assert np.abs(by_latents[:, 1] - grid[:, 1]).max() > 1e-3


def test_a_walk_between_projections(monkeypatch, tmp_path):
    """Begins and ends with their images, noise included."""
    import jaxgan.checkpoint
    from jaxgan import stylegan

    state, random = noisy_state(), np.random.default_rng(0)
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (stylegan, STYLES, state))
    made = []
    for name in "ab":
        w, leaves = (
            random.normal(size=8).astype(np.float32),
            jax.tree.leaves_with_path(state.ema["noise"]),
        )
        noise = jax.tree.map(
            lambda leaf: random.normal(size=leaf.shape).astype(np.float32), state.ema["noise"]
        )
        noise = jax.tree.map(lambda leaf: (leaf - leaf.mean()) / leaf.std(), noise)
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        planes = dict(zip(names, jax.tree.leaves(noise), strict=True))
        made.append(jax.jit(lambda w, noise: projection.render(STYLES, state, w, noise))(w, noise))
        project.save(
            tmp_path / f"{name}.npz", project.Found(w, planes, np.asarray(made[-1]), np.zeros(1))
        )
    files = [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
    command.main(
        [
            str(tmp_path),
            "interpolate",
            str(tmp_path / "out.npy"),
            "--steps",
            "3",
            "--images",
            *files,
        ]
    )
    grid = np.load(tmp_path / "out.npy")
    assert grid.shape == (1, 5, 8, 8, 1)
    np.testing.assert_allclose(grid[0, [0, 1]], np.stack([made[0]] * 2), atol=1e-4)
    np.testing.assert_allclose(grid[0, [3, 4]], np.stack([made[1]] * 2), atol=1e-4)
    with pytest.raises(SystemExit):
        command.main(
            [str(tmp_path), "interpolate", str(tmp_path / "out.npy"), "--images", "a.png", "b.png"]
        )


def test_strips_between_images_begin_and_end_with_them(run, tmp_path):
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(PIXELS[i, ..., 0]).save(files[-1])
    grid = run("interpolate", "--images", *files, "--steps", 3)
    images = as_floats(PIXELS[:3])
    assert grid.shape == (2, 5, *SIZE, 1)
    for strip in range(2):
        middle = (images[strip] + images[strip + 1]) / 2
        expected = [images[strip], images[strip], middle, images[strip + 1], images[strip + 1]]
        np.testing.assert_allclose(grid[strip], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "names", "with_it", "without"),
    [
        ("classes", ("--to", "bee"), LABELS == 1, LABELS != 1),
        ("classes", ("--to", "cat", "--from", "ant"), LABELS == 2, LABELS == 0),
        ("attributes", ("--to", "Odd"), ATTRIBUTES[:, 0] == 1, ATTRIBUTES[:, 0] == 0),
        (
            "attributes",
            ("--to", "Odd", "--from", "Fifth"),
            ATTRIBUTES[:, 0] == 1,
            ATTRIBUTES[:, 1] == 1,
        ),
    ],
)
def test_an_attribute_is_a_difference_of_mean_codes(run, capsys, spec, names, with_it, without):
    """Means over all of each group; a row is an image of the second group, and what becomes of it at each strength."""
    grid = run("attribute", "--data", spec, *names, "--n", 4, "--strengths", "0", "-1", "2")
    images = as_floats(PIXELS)
    vector = images[with_it].mean(axis=0) - images[without].mean(axis=0)
    chosen = images[without][:4]
    assert grid.shape == (4, 4, *SIZE, 1)
    for column, expected in enumerate((chosen, chosen, chosen - vector, chosen + 2 * vector)):
        np.testing.assert_allclose(grid[:, column], expected, atol=1e-5)
    assert f"{names[1]}: {with_it.sum()} images" in capsys.readouterr().out


def test_a_limit_looks_at_images_drawn_at_random(run):
    """Classes come one after the other, and every fourth image may be of one kind only."""
    grid = run(
        "attribute", "--data", "classes", "--to", "cat", "--limit", 50, "--n", 1, "--strengths", "1"
    )
    rows = np.sort(np.random.default_rng(0).choice(len(LABELS), 50, replace=False))
    images, labels = as_floats(PIXELS[rows]), LABELS[rows]
    vector = images[labels == 2].mean(axis=0) - images[labels != 2].mean(axis=0)
    np.testing.assert_allclose(grid[0, 1], images[labels != 2][0] + vector, atol=1e-5)


def test_of_several_sets_those_count_that_tell_the_attribute(run, monkeypatch):
    """What a set does not tell is unknown, so its images are not among those without it."""
    alone = data.dataset.with_attributes(
        data.from_arrays("alone", PIXELS), ATTRIBUTES, ("Odd", "Fifth")
    )
    other = data.dataset.with_attributes(
        data.from_arrays("other", 255 - PIXELS), ATTRIBUTES[:, :1], ("Round",)
    )
    sets = {
        "alone": alone,
        "both": data.combine([alone, other]),
        "other first": data.combine([other, alone]),
    }
    monkeypatch.setattr("jaxgan.data.open", lambda spec, image_size, channels: sets[spec])
    rows = [
        run("attribute", "--data", spec, "--to", "Odd", "--n", 3, "--strengths", "0", "1")
        for spec in sets
    ]
    for grid in rows[1:]:
        np.testing.assert_allclose(grid, rows[0], atol=1e-5)


def test_the_attribute_of_given_images(run, tmp_path):
    """Of another size and with colours, they are scaled to the model's; a folder counts as its images."""
    (tmp_path / "mine").mkdir()
    Image.fromarray(np.full((12, 16, 3), 51, np.uint8)).save(tmp_path / "mine" / "a.png")
    np.save(tmp_path / "mine" / "b.npy", np.full((*SIZE, 1), 0.5, np.float32))
    grid = run(
        "attribute",
        "--data",
        "classes",
        "--to",
        "bee",
        "--images",
        tmp_path / "mine",
        "--strengths",
        "0",
    )
    np.testing.assert_allclose(grid[:, 0, 0, 0, 0], [51 / 127.5 - 1, 0.5], atol=1e-6)


def test_a_sheet(run, tmp_path):
    with Image.open(
        run("interpolate", "--n", 2, "--steps", 4, out=tmp_path / "sheet.png")
    ) as sheet:
        assert (sheet.width > sheet.height, sheet.mode) == (True, "L")


FROM_NOISE = (
    "cgan",
    "vaegan",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("gan", "dcgan", "acgan", "stylegan")),
)


@pytest.mark.parametrize("name", FROM_NOISE)
def test_every_family_that_draws_from_noise(name, monkeypatch, tmp_path):
    """The first and last of a strip between samples are what `sample` draws; of StyleGAN under constant noise."""
    import jaxgan.checkpoint

    case = CASES[name]
    family, config = case.family, case.config
    noise = {"noise": "constant"} if name == "stylegan" else {}
    labels = {"labels": jnp.array([1, 1, 0, 0])} if getattr(config, "classes", 0) else {}
    state = jax.jit(family.init, static_argnums=0)(config, jax.random.key(0)).replace(players={})
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (family, config, state))
    flags = ["--labels", "1", "0"] if labels else []
    command.main(
        [str(tmp_path), "interpolate", str(tmp_path / "out.npy"), "--n", "2", "--seed", "5", *flags]
    )
    samples = jax.jit(lambda state, key: family.sample(config, state, key, 4, **labels, **noise))(
        state, jax.random.key(5)
    )
    strips = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(strips[:, [0, -1]].reshape(samples.shape), samples, atol=1e-5)


@pytest.mark.parametrize(
    ("action", "arguments", "message"),
    [
        ("interpolate", ["--steps", "1"], "--steps must be at least 2"),
        ("interpolate", ["--n", "0"], "--n must be at least 1"),
        ("interpolate", ["--images", "one.png"], "needs two images"),
        ("interpolate", ["--truncation", "0.5"], "vaegan has no styles: leave out --truncation"),
        ("interpolate", ["--labels", "1"], "this run has no classes"),
        ("interpolate", ["--images", "none/here", "or/here"], "does not exist"),
        (
            "attribute",
            ["--data", "classes", "--to", "dog"],
            "--to must be a class or attribute of classes, which are ant, bee, cat, got 'dog'",
        ),
        ("attribute", ["--data", "classes", "--to", "ant", "--from", "dog"], "--from must be"),
        ("attribute", ["--data", "plain", "--to", "ant"], "plain has no classes and no attributes"),
        (
            "attribute",
            ["--data", "classes", "--to", "ant", "--limit", "2", "--from", "bee"],
            "that were looked at is ant: raise --limit",
        ),
    ],
)
def test_bad_requests_end_with_status_2(run, capsys, action, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(action, *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_image_that_cannot_be_used_is_named(run, capsys, tmp_path):
    for name, array in (
        ("small.npy", np.zeros((2, 2, 1), np.float32)),
        ("four.npy", np.zeros((*SIZE, 5), np.uint8)),
    ):
        np.save(tmp_path / name, array)
        with pytest.raises(SystemExit):
            run("interpolate", "--images", tmp_path / name, tmp_path / name)
        assert f"{tmp_path / name} " in capsys.readouterr().err


def test_other_endings_and_other_families_are_refused(run, monkeypatch, capsys, tmp_path):
    import jaxgan.checkpoint

    with pytest.raises(SystemExit):
        run("interpolate", out=tmp_path / "sheet.jpg")
    assert "OUT must end in .png, .npy, .gif, .webp or .apng, got" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("attribute", "--data", "classes", "--to", "ant", out=tmp_path / "sheet.gif")
    assert "OUT must end in .png or .npy, got" in capsys.readouterr().err
    monkeypatch.setattr(
        jaxgan.checkpoint,
        "load",
        lambda folder: (types.SimpleNamespace(__name__="jaxgan.families.dcgan"), CONFIG, {}),
    )
    with pytest.raises(SystemExit):
        run("attribute", "--data", "classes", "--to", "ant")
    assert (
        capsys.readouterr().err
        == "error: dcgan cannot encode images, so attributes cannot be added to them: give a run of vaegan\n"
    )
    with pytest.raises(SystemExit):
        run("interpolate")
    wanted = "error: dcgan changes given images and has no codes to mix or move: give a run that draws images from noise\n"
    assert capsys.readouterr().err == wanted
