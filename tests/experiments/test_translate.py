"""`experiments.translate`: the same result whatever is batched or tiled, files in and out exactly, and one sentence for what cannot be."""

from __future__ import annotations

import base64
import io
import os
import re
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import translate as command
from experiments.support import image_files
from jaxgan.data.images import decode
from jaxgan.family import Conditioning
from jaxgan.pictures.images import encode_png, to_uint8, to_uint16
from jaxgan.report import gallery
from jaxgan.update import example_keys

RNG = np.random.default_rng(0)


def stub(function, channels_a=3, channels_b=3, **settings):
    """A run (family, config, state) whose translation of one image [H, W, C] is `function(image, key)`; `family.shapes` lists what was compiled."""
    shapes = []

    def translate(config, state, images, *, direction="a2b", key=None, first=0):
        shapes.append(images.shape)
        keys = example_keys(key, images.shape[0], first=first)
        result = jax.vmap(function)(images, keys)
        return result if direction == "a2b" else -result

    ways = (settings["direction"],) if "direction" in settings else ("a2b", "b2a")
    told = Conditioning("sides", sides=(channels_a, channels_b), directions=ways)
    functions = {"translate": translate, "conditioning": lambda config: told}
    return (
        types.SimpleNamespace(shapes=shapes, __name__="jaxgan.families.stub", **functions),
        types.SimpleNamespace(**settings),
        {},
    )


def curve(image, key):
    """Every pixel alone: channels turned around, dark inverted, bright halved; exact in float32, however it is compiled."""
    turned = image[..., ::-1]
    return jnp.where(turned > 0.25, 0.5 * turned, -turned)


def mean(image, key):
    """A receptive field: the mean of 5 x 5 pixels, zeros outside."""
    return jax.lax.reduce_window(image, 0.0, jax.lax.add, (5, 5, 1), (1, 1, 1), "SAME") / 25


def drawn(image, key):
    """Each image its own constant, which only its number and the seed decide."""
    return jnp.broadcast_to(jax.random.uniform(key, (3,), minval=-1.0), image.shape)


def same(image, key):
    return image


@pytest.fixture
def run(monkeypatch, tmp_path):
    """use(function, ...) makes the run directory `tmp_path`/run one of a stub family; in `tmp_path`/in images are put."""
    import jaxgan.checkpoint

    (tmp_path / "in").mkdir()

    def use(*arguments, **settings):
        loaded = stub(*arguments, **settings)
        monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: loaded)
        return loaded[0]

    return use


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".jpg":
        Image.fromarray(pixels).save(path)
    else:
        path.write_bytes(encode_png(pixels))
    return path


def noise(*shape, kind=np.uint8):
    return RNG.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def go(folder, *flags, source="in", target="out"):
    """Exit status of the command."""
    try:
        command.main([str(folder / "run"), str(folder / source), str(folder / target), *flags])
    except SystemExit as stop:
        return stop.code
    return 0


def refused(folder, capsys, *flags, **places):
    """The one sentence that the command ends with."""
    assert go(folder, *flags, **places) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def pixels_of(path):
    return np.load(path) if path.suffix == ".npy" else decode(path.read_bytes())


def expected(pixels, function=curve):
    """The translation by NumPy and JAX, without the tool."""
    top = np.iinfo(pixels.dtype).max if pixels.dtype != np.float32 else None
    values = (
        pixels if top is None else ((2 * pixels.astype(np.float64) - top) / top).astype(np.float32)
    )
    result = np.asarray(jax.jit(function)(jnp.asarray(values), None))
    return {"uint8": to_uint8, "uint16": to_uint16, "float32": np.asarray}[pixels.dtype.name](
        result
    )


# ------------------------------------------------------------------------------------------------------- tiles and batches


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--tile", "0"),
        ("--tile", "16", "--overlap", "5"),
        ("--tile", "16", "--overlap", "8", "--batch", "4"),
    ],
)
def test_tiles_and_batches_change_nothing_where_pixels_are_alone(run, tmp_path, flags):
    family = run(curve)
    given = {
        "a.png": noise(37, 50, 3),
        "b.npy": RNG.uniform(-1, 1, (40, 9, 3)).astype(np.float32),
        "c.png": noise(9, 11, 3),
    }
    for name, pixels in given.items():
        put(tmp_path / "in" / name, pixels)
    assert go(tmp_path, *flags) == 0
    for name, pixels in given.items():
        result = pixels_of(tmp_path / "out" / name)
        assert result.dtype == pixels.dtype
        np.testing.assert_array_equal(result, expected(pixels))
    sides = (
        {"37x50": (37, 50), "40x9": (40, 9), "9x11": (9, 11)}
        if "16" not in flags
        else {"a": (16, 16), "b": (16, 9), "c": (9, 11)}
    )
    assert sorted(shape[1:3] for shape in family.shapes) == sorted(sides.values()), (
        "one compilation per shape"
    )


def test_of_a_blur_only_what_is_near_a_cut_differs(run, tmp_path):
    run(mean)
    pixels = RNG.uniform(-1, 1, (50, 41, 3)).astype(np.float32)
    put(tmp_path / "in" / "a.npy", pixels)
    assert go(tmp_path, "--tile", "32", "--overlap", "12") == 0
    error = np.abs(np.load(tmp_path / "out" / "a.npy") - expected(pixels, mean)).max(axis=2)
    rows, columns = np.zeros(50, bool), np.zeros(41, bool)
    for cut in (18, 32):  # tiles of rows 0..32 and 18..50; of columns 0..32 and 9..41
        rows[cut - 2 : cut + 2] = True
    for cut in (9, 32):
        columns[cut - 2 : cut + 2] = True
    near = rows[:, None] | columns[None]
    assert error[~near].max() < 1e-6
    assert 1e-6 < error[near].max() < 0.1


def test_an_image_draws_the_same_in_any_company(run, tmp_path):
    family = run(drawn)
    for i in range(5):
        put(tmp_path / "in" / f"{i}.png", noise(8, 8 if i != 3 else 20, 3))
    assert go(tmp_path, "--seed", "7") == 0
    assert (
        go(
            tmp_path,
            "--seed",
            "7",
            "--batch",
            "2",
            "--tile",
            "8",
            "--overlap",
            "2",
            target="batched",
        )
        == 0
    )
    assert family.shapes[2:] == [(1, 8, 8, 3)], "tiles and small images are of one shape here"
    (tmp_path / "batched" / "2.png").unlink()
    assert go(tmp_path, "--seed", "7", "--batch", "3", "--resume", target="batched") == 0
    assert go(tmp_path, "--seed", "8", target="other") == 0
    for i in range(5):
        constant = to_uint8(
            jax.random.uniform(jax.random.fold_in(jax.random.key(7), i), (3,), minval=-1.0)[
                None, None
            ]
        )
        for folder in ("out", "batched"):
            result = pixels_of(tmp_path / folder / f"{i}.png")
            np.testing.assert_array_equal(result, np.broadcast_to(constant, result.shape))
        assert np.abs(pixels_of(tmp_path / "other" / f"{i}.png").astype(int) - constant).max() > 3


def test_a_real_family(monkeypatch, tmp_path):
    """CycleGAN as it is: the tool writes what `translate` gives for each image alone."""
    import jaxgan.checkpoint
    from jaxgan.families import cyclegan

    config = cyclegan.Config(
        image_size=(16, 16),
        channels_b=1,
        generator_width=2,
        discriminator="pixel",
        blocks=1,
        identity_weight=0.0,
    )
    state = jax.eval_shape(
        partial(cyclegan.init, config), jax.random.key(0)
    )  # compiling it would take longer than everything else
    state = jax.tree.map(
        lambda leaf: RNG.normal(0, 0.3, leaf.shape).astype(leaf.dtype),
        state.replace(players={}, extra={}),
    )
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (cyclegan, config, state))
    given = [put(tmp_path / "in" / f"{i}.png", noise(13, 18, 3)) for i in range(3)]
    assert go(tmp_path, "--batch", "2", "--direction", "b2a") == 0
    pixels = np.stack([image_files.read(path, 1) for path in given])
    direct = jax.jit(partial(cyclegan.translate, config, direction="b2a"))(
        state, jnp.asarray(image_files.normalise(pixels))
    )
    for i, image in enumerate(direct):
        result = pixels_of(tmp_path / "out" / f"{i}.png")
        assert result.shape == (13, 18, 3)
        assert np.abs(result.astype(int) - to_uint8(image).astype(int)).max() <= 1, (
            "rounding of values between two levels"
        )


# ------------------------------------------------------------------------------------------------------------ kinds of image


def test_bits_are_kept_exactly(run, tmp_path):
    """Nothing is lost from file to file: 8 bits, 16 bits, arrays."""
    run(same, 1, 1)
    given = {
        "a.png": noise(6, 7, 1),
        "b.png": noise(6, 7, 1, kind=np.uint16),
        "c.npy": noise(5, 5, 1, kind=np.uint16),
        "d.npy": noise(4, 3),
    }
    for name, pixels in given.items():
        put(tmp_path / "in" / name, pixels)
    assert go(tmp_path) == 0
    for name, pixels in given.items():
        result = pixels_of(tmp_path / "out" / name)
        assert result.dtype == pixels.dtype
        np.testing.assert_array_equal(result, pixels.reshape(result.shape))


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colours_stay_so(run, tmp_path, channels):
    run(same, channels, channels)
    pixels = noise(6, 7, channels, kind=np.uint16)
    put(tmp_path / "in" / "a.png", pixels)
    assert go(tmp_path) == 0
    result = pixels_of(tmp_path / "out" / "a.png")
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, pixels)


def test_16_bit_grey_becomes_16_bit_rgb(run, tmp_path):
    run(curve, 3, 3)
    pixels = noise(6, 7, 1, kind=np.uint16)
    put(tmp_path / "in" / "a.png", pixels)
    assert go(tmp_path) == 0
    content = (tmp_path / "out" / "a.png").read_bytes()
    assert content[24:26] == bytes([16, 2]), "bit depth, colour type"
    assert content == encode_png(
        expected(np.repeat(pixels, 3, axis=2)), note="stub a2b of run, seed 0, image 0"
    )


def test_channels_are_converted_where_that_has_a_meaning(run, tmp_path, capsys):
    run(same, 1, 3)
    grey = noise(4, 4, 1)
    put(tmp_path / "in" / "grey.png", grey)
    put(tmp_path / "in" / "rgb.png", np.repeat(grey, 3, axis=2))
    put(
        tmp_path / "in" / "rgba.png",
        np.concatenate([np.repeat(grey, 3, axis=2), np.zeros((4, 4, 1), np.uint8)], axis=2),
    )
    put(tmp_path / "in" / "two.npy", noise(4, 4, 2))
    put(tmp_path / "in" / "wide.npy", np.zeros((4, 4, 3), np.float32))
    assert go(tmp_path) == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / "rgb.png")[..., 0], grey[..., 0])
    assert (pixels_of(tmp_path / "out" / "rgba.png") == 255).all(), (
        "what is transparent lies over white"
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "2 of 5 images were left out:",
        "  two.npy has 2 channels, but the run takes 1: give it as .npy [H, W, 1]",
        "  wide.npy has 3 channels, but the run takes 1: give it as .npy [H, W, 1]",
    ]


def test_channels_that_no_picture_has(run, tmp_path, capsys):
    """To five channels: an array for a PNG; back from five: the array stays one."""
    run(lambda image, key: jnp.concatenate([image, -image[..., :2]], axis=-1), 3, 5)
    pixels = noise(4, 6, 3)
    put(tmp_path / "in" / "a.png", pixels)
    assert go(tmp_path, source="in/a.png", target="a.npy") == 0
    result = np.load(tmp_path / "a.npy")
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.concatenate([pixels, 255 - pixels[..., :2]], axis=2))
    capsys.readouterr()
    assert "written as .npy" in refused(tmp_path, capsys, source="in/a.png", target="b.png")
    run(lambda image, key: image[..., 2:], 3, 5)
    assert go(tmp_path, "--direction", "b2a", source="a.npy", target="new") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "a.npy"), 255 - result[..., 2:])


# --------------------------------------------------------------------------------------------------------------- names, runs


def test_names_and_sub_folders(run, tmp_path, capsys):
    run(same)
    for name in ("b/x.jpg", "b/deep/y.PNG", "a.png", "a.jpg", ".hidden/z.png", "v1.2.png"):
        put(tmp_path / "in" / name, noise(4, 4, 3))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert go(tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'index.html'}\n"
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert files == ["a.jpg.png", "a.png.png", "b/deep/y.png", "b/x.png", "index.html", "v1.2.png"]
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "out/a.png.png"), pixels_of(tmp_path / "in/a.png")
    )


def test_one_file_to_a_file_or_into_a_folder(run, tmp_path, capsys):
    run(curve)
    pixels = noise(5, 6, 3)
    put(tmp_path / "in" / "a.png", pixels)
    put(tmp_path / "full" / "other.png", pixels)
    for target, written in (
        ("deep/new.png", "deep/new.png"),
        ("full", "full/a.png"),
        ("empty", "empty/a.png"),
    ):
        assert go(tmp_path, source="in/a.png", target=target) == 0
        assert capsys.readouterr().out == f"{tmp_path / written}\n"
        np.testing.assert_array_equal(pixels_of(tmp_path / written), expected(pixels))
    assert not (tmp_path / "full" / "index.html").exists()
    assert "is there already" in refused(tmp_path, capsys, source="in/a.png", target="full")
    assert go(tmp_path, "--overwrite", source="in/a.png", target="full") == 0


def test_resume_keeps_and_overwrite_replaces(run, tmp_path, capsys):
    run(same)
    given = [put(tmp_path / "in" / f"{i}.png", noise(4, 4, 3)) for i in range(3)]
    put(tmp_path / "out" / "1.png", np.zeros((4, 4, 3), np.uint8))
    assert "is not empty: give --resume" in refused(tmp_path, capsys)
    assert go(tmp_path, "--resume") == 0
    assert not pixels_of(tmp_path / "out" / "1.png").any()
    for i in (0, 2):
        np.testing.assert_array_equal(pixels_of(tmp_path / "out" / f"{i}.png"), pixels_of(given[i]))
    assert (tmp_path / "out" / "index.html").read_text().count("<figure>") == 3
    assert go(tmp_path, "--overwrite") == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / "1.png"), pixels_of(given[1]))


def test_directions(run, tmp_path, capsys):
    run(same)
    pixels = noise(4, 4, 3)
    put(tmp_path / "in" / "a.png", pixels)
    for flags, target, result in (
        ((), "a2b", pixels),
        (("--direction", "b2a"), "b2a", 255 - pixels),
    ):
        assert go(tmp_path, *flags, target=target) == 0
        np.testing.assert_array_equal(pixels_of(tmp_path / target / "a.png"), result)
    run(same, direction="b2a")  # a family of one direction
    assert go(tmp_path, target="own") == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "own" / "a.png"), 255 - pixels)
    assert "this stub run translates b2a only: leave out --direction a2b" in refused(
        tmp_path, capsys, "--direction", "a2b", target="other"
    )


# --------------------------------------------------------------------------------------------------------- what cannot be done


def bad_images(folder):
    put(folder / "a.png", noise(4, 4, 3))
    (folder / "b.png").write_bytes(b"")
    (folder / "c.png").write_bytes(encode_png(noise(40, 40, 3))[:-200])
    (folder / "d.npy").write_bytes(b"text")
    for name, array in (
        ("e", np.zeros((4, 4, 3))),
        ("f", np.full((4, 4, 3), np.nan, np.float32)),
        ("g", np.zeros((2, 4, 4, 3), np.uint8)),
    ):
        np.save(folder / f"{name}.npy", array)


def test_bad_files_are_left_out_and_named(run, tmp_path, capsys):
    run(curve)
    bad_images(tmp_path / "in")
    assert go(tmp_path) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "6 of 7 images were left out:"
    reasons = ["b.png is empty", "c.png is damaged", "d.npy is not a readable .npy file", "e.npy holds float64, not uint8",
               "f.npy has values outside of [-1, 1]", "g.npy must be one image [H, W, C], and has shape [2, 4, 4, 3]"]  # fmt: skip
    for line, reason in zip(lines[1:], reasons, strict=True):
        assert line.startswith(f"  {reason}")
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<figure>") == 1
    assert all(reason in page for reason in reasons)
    assert "b.png is empty (0 bytes): repair or remove it, or leave out --strict" in refused(
        tmp_path, capsys, "--strict", target="strict"
    )
    (tmp_path / "in" / "a.png").unlink()
    assert go(tmp_path, target="none") == 1
    assert "6 of 6 images were left out" in capsys.readouterr().err


def test_requests_that_are_refused(run, tmp_path, capsys):
    run(same)
    put(tmp_path / "in" / "a.png", noise(4, 4, 3))
    put(tmp_path / "in" / "in" / "a.png", noise(4, 4, 3))
    (tmp_path / "void").mkdir()
    cases = [
        ({"source": "nowhere"}, (), "does not exist: name an image"),
        ({"source": "void"}, (), "holds no images"),
        ({"target": "in/out"}, (), "so translations would be translated again"),
        ({"target": "in"}, ("--overwrite",), "so translations would be translated again"),
        ({"target": "."}, ("--overwrite",), "is one of the images to translate"),
        (
            {"target": "in/a.png", "source": "in/a.png"},
            ("--overwrite",),
            "is one of the images to translate",
        ),
        ({"target": "out.jpg", "source": "in/a.png"}, (), "is written as .png"),
        ({}, ("--batch", "0"), "--batch must be at least 1"),
        ({}, ("--tile", "-1"), "--tile must be a number of pixels"),
        ({}, ("--tile", "100"), "half of --tile (50), got 128"),
        ({}, ("--overlap", "-1"), "--overlap must be from 0"),
        ({}, ("--resume", "--overwrite"), "give one of the two"),
    ]
    for places, flags, message in cases:
        assert message in refused(tmp_path, capsys, *flags, **places)
    put(tmp_path / "out", noise(2, 2, 3))
    assert "is a file, and several are to be written: name a folder" in refused(tmp_path, capsys)
    (tmp_path / "place" / "a.png").mkdir(parents=True)
    assert "is a folder where a translation is to be written" in refused(
        tmp_path, capsys, "--overwrite", target="place"
    )
    put(tmp_path / "twice" / "a.png", noise(2, 2, 3))
    put(tmp_path / "twice" / "a.jpg", noise(2, 2, 3))
    put(tmp_path / "twice" / "a.jpg.bmp", noise(2, 2, 3))
    assert "would both become" in refused(tmp_path, capsys, source="twice", target="new")
    assert not list(tmp_path.glob("new/*"))


def test_runs_that_cannot_translate(monkeypatch, tmp_path, capsys):
    import jaxgan.checkpoint

    put(tmp_path / "in" / "a.png", noise(4, 4, 3))
    assert "run holds no checkpoint" in refused(tmp_path, capsys)
    family = types.SimpleNamespace(sample=None, __name__="jaxgan.families.dcgan")
    monkeypatch.setattr(jaxgan.checkpoint, "load", lambda folder: (family, None, None))
    assert (
        "dcgan draws images from noise and translates none: use python -m experiments.sample"
        in refused(tmp_path, capsys)
    )


def test_memory_that_is_too_small(run, tmp_path, capsys):
    def full(image, key):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    run(full)
    put(tmp_path / "in" / "a.png", noise(4, 6, 3))
    assert "1 at once of 4x6 pixels do not fit into memory: lower --tile" in refused(
        tmp_path, capsys
    )


def test_an_interruption_leaves_whole_files_and_can_be_resumed(run, tmp_path, capsys, monkeypatch):
    run(curve)
    given = [put(tmp_path / "in" / f"{i}.png", noise(4, 4, 3)) for i in range(4)]
    replace, count = os.replace, []

    def stop(source, target):
        count.append(target)
        if len(count) == 3:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", stop)
        assert go(tmp_path) == 130
    assert "interrupted: 2 of 4 images were written" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]
    assert go(tmp_path, "--resume") == 0
    for path in given:
        np.testing.assert_array_equal(
            pixels_of(tmp_path / "out" / path.name), expected(pixels_of(path))
        )


# ----------------------------------------------------------------------------------------------------------------------- page


def test_the_page_shows_inputs_beside_outputs(run, tmp_path, monkeypatch):
    run(same)
    monkeypatch.setattr(gallery, "SHOWN", 7)  # an image has two thumbnails
    put(tmp_path / "in" / "a <b> & 50%.png", np.full((4, 4, 3), 9, np.uint8))
    put(tmp_path / "in" / "sub" / "c.png", np.full((700, 10, 1), 0x8000, np.uint16))
    put(tmp_path / "in" / "sub" / "d.npy", np.full((5, 4, 3), -1, np.float32))
    put(tmp_path / "in" / "z.png", noise(4, 4, 3))
    assert go(tmp_path, "--direction", "b2a", "--seed", "5") == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "4 images, the first 3 shown." in page
    assert re.findall(r'<a href="([^"]*)">([^<]*)</a>', page) == [
        ("a%20%3Cb%3E%20%26%2050%25.png", "a &lt;b&gt; &amp; 50%.png"), ("sub/c.png", "sub/c.png"), ("sub/d.npy", "sub/d.npy")
    ]  # fmt: skip
    for fact in (
        "stub b2a: run",
        "<td>5</td>",
        f"<td>python -m experiments.translate {tmp_path / 'run'} ",
        "grey → RGB, 16-bit",
    ):
        assert fact in page
    sources = re.findall(r'src="data:image/(?:png|webp);base64,([^"]*)"', page)
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
        for text in sources
    ]
    assert [image.shape for image in shown] == [(4, 4, 3)] * 2 + [(320, 5, 3)] * 2 + [(5, 4, 3)] * 2
    assert [int(image[0, 0, 0]) for image in shown] == [9, 246, 128, 127, 0, 255]
    assert page.count('class="small"') == 4
    assert "http" not in page.replace("http-equiv", ""), "no network"


def test_thumbnails_of_any_channels():
    assert gallery.thumbnail(noise(4, 4, 2)).shape == (4, 4, 1)
    assert gallery.thumbnail(np.zeros((900, 450, 7), np.float32)).shape == (320, 160, 3)
    assert gallery.thumbnail(np.full((2, 2, 1), 65535, np.uint16)).tolist() == [[[255]] * 2] * 2


def test_help_names_the_places(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(
        word in text
        for word in ("RUN:", "INPUT:", "OUTPUT:", "--overlap", "--resume", "--attributes", "--grid")
    )
