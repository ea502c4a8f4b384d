"""How pictures are stored changes nothing: formats, layouts of bytes, names, depth, palettes, orientation, metadata; and what changes a set in a known way."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import jaxgan.data
from experiments import colour_layouts
from jaxgan.data import images
from jaxgan.pictures.images import encode_png
from tests.data import tiff_files

RNG = np.random.default_rng(4)
SIZE = (10, 14)
PICTURES = [RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(3)]
CLEAR = [np.dstack([pixels, RNG.integers(1, 256, SIZE).astype(np.uint8)]) for pixels in PICTURES]
IDS = [RNG.integers(0, 4, SIZE).astype(np.uint8) for _ in range(3)]
OPACITY = [(338, 3, (2,))]


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch, tmp_path):
    """Caches go to a temporary folder."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def saved(kind, **options):
    """Pixels -> the bytes of a file that Pillow writes."""

    def encode(pixels):
        file = io.BytesIO()
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(file, kind, **options)
        return file.getvalue()

    return encode


def described(pixels):
    """A PNG file with remarks, a resolution and a colour profile's name."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "taken at noon")
    return saved("PNG", pnginfo=info, dpi=(300, 300))(pixels)


def turned(pixels):
    """Lies on its side, and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("PNG", exif=exif)(np.ascontiguousarray(np.rot90(pixels)))


def tiff(**how):
    return lambda pixels: tiff_files.tiff(
        pixels, 2, tags=OPACITY if pixels.shape[2] == 4 else (), **how
    )


def fingerprint(folder, encode, pictures, suffix=".png"):
    folder.mkdir()
    for i, pixels in enumerate(pictures):
        (folder / f"{i}{suffix}").write_bytes(encode(pixels))
    return jaxgan.data.open(f"folder:{folder}", progress=False).fingerprint


SAME = {
    "compressed otherwise": saved("PNG", compress_level=0),
    "remarks": described,
    "turned": turned,
    "16-bit writer of 8 bits": encode_png,
    "tiff": tiff(),
    "tiff of Pillow": saved("TIFF"),
    "tiff lzw": saved("TIFF", compression="tiff_lzw"),
    "tiff packbits": saved("TIFF", compression="packbits"),
    "tiff deflate": tiff(deflate=True),
    "tiff tiles": tiff(tile=(16, 16)),
    "tiff planes": tiff(planar=True),
    "tiff compressed planes in tiles": tiff(planar=True, deflate=True, tile=(16, 16)),
    "tiff big-endian": tiff(order=">"),
    "tiff with 64-bit offsets": tiff(big=True),
    "tiff strips": tiff(rows=1),
    "webp": saved("WEBP", lossless=True, exact=True),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("pictures", [PICTURES, CLEAR], ids=["rgb", "rgba"])
def test_the_same_pixels_in_another_file_are_the_same_set(tmp_path, name, pictures):
    first = fingerprint(tmp_path / "a", saved("PNG"), pictures)
    assert fingerprint(tmp_path / "b", SAME[name], pictures) == first


@pytest.mark.parametrize("kind", ["BMP", "PPM"])
def test_formats_without_opacity_are_the_same_set(tmp_path, kind):
    first = fingerprint(tmp_path / "a", saved("PNG"), PICTURES)
    assert fingerprint(tmp_path / "b", saved(kind), PICTURES) == first


@pytest.mark.parametrize("suffix", [".jpg", ".TIFF", ".gif", ".WebP"])
def test_extensions_change_nothing(tmp_path, suffix):
    assert fingerprint(tmp_path / "a", saved("PNG"), PICTURES) == fingerprint(
        tmp_path / "b", saved("PNG"), PICTURES, suffix
    )


def test_a_zip_file_of_mixed_formats_is_the_folder(tmp_path):
    ways = [saved("PNG"), saved("TIFF", compression="tiff_lzw"), saved("BMP")]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for i, (encode, pixels) in enumerate(zip(ways, PICTURES)):
            file.writestr(f"{i}.png", encode(pixels))
    found = jaxgan.data.open(f"zip:{tmp_path / 'set.zip'}", progress=False)
    assert found.fingerprint == fingerprint(tmp_path / "a", saved("PNG"), PICTURES)


def test_an_animation_is_its_first_frame():
    frames = [Image.fromarray(pixels) for pixels in PICTURES]
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("GIF", {})):
        still, moving = (
            saved(kind, **options, **more)(frames[0])
            for more in ({}, {"save_all": True, "append_images": frames[1:]})
        )
        np.testing.assert_array_equal(images.decode(moving), images.decode(still))


# ------------------------------------------------------------------------------------------------------- known changes of levels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero_is_the_negative(dtype, order):
    grey = RNG.integers(0, np.iinfo(dtype).max + 1, SIZE).astype(dtype)
    black, white = (
        images.decode(tiff_files.tiff(grey, photometric, order=order)) for photometric in (1, 0)
    )
    np.testing.assert_array_equal(white, np.iinfo(dtype).max - black)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_8_bits_times_257(channels):
    pixels = RNG.integers(0, 256, (*SIZE, channels)).astype(np.uint8)
    deep = pixels.astype(np.uint16) * 257
    for encode in (
        encode_png,
        lambda x: tiff_files.tiff(
            x, 2 if channels > 1 else 1, tags=OPACITY if channels == 4 else ()
        ),
    ):
        np.testing.assert_array_equal(
            images.decode(encode(deep)), images.decode(encode(pixels)).astype(np.uint16) * 257
        )
    if channels < 4:
        for how in ("cover", "stretch", "width"):
            np.testing.assert_allclose(
                images.resize(deep, (5, 6), how) / 257, images.resize(pixels, (5, 6), how), atol=1
            )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("how", ["cover", "stretch"])
def test_full_opacity_changes_no_colour(dtype, how):
    top = np.iinfo(dtype).max
    pixels = RNG.integers(0, top + 1, (*SIZE, 3)).astype(dtype)
    opaque = np.dstack([pixels, np.full(SIZE, top, dtype)])
    for size in ((4, 5), (23, 19)):
        result = images.resize(opaque, size, how)
        np.testing.assert_allclose(
            result[..., :3].astype(int), images.resize(pixels, size, how), atol=1
        )
        assert (result[..., 3] == top).all()
    np.testing.assert_array_equal(
        images.decode(tiff_files.tiff(opaque, 2, tags=[(338, 3, (1,))])), opaque
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_lies_under_clear_pixels_does_not_count(dtype):
    """Of a resized image: other colours where nothing is seen change nothing."""
    top = np.iinfo(dtype).max
    image = RNG.integers(0, top + 1, (*SIZE, 4)).astype(dtype)
    image[:, :7, 3] = 0
    other = image.copy()
    other[:, :7, :3] = top - other[:, :7, :3]
    np.testing.assert_array_equal(
        images.resize(image, (7, 9), "stretch"), images.resize(other, (7, 9), "stretch")
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_mirroring_and_resizing_commute(dtype, channels):
    image = RNG.integers(0, np.iinfo(dtype).max + 1, (*SIZE, channels)).astype(dtype)
    image[..., -1] |= np.iinfo(dtype).max // 2 + 1  # 8-bit colours of little opacity are coarse
    for how in ("cover", "stretch"):
        ways = (
            images.resize(image[:, ::-1].copy(), (6, 5), how),
            images.resize(image, (6, 5), how)[:, ::-1],
        )
        np.testing.assert_allclose(ways[0].astype(int), ways[1].astype(int), atol=3)


def test_a_transparent_level_is_an_opacity_of_zero():
    for dtype, depth in ((np.uint8, 1), (np.uint16, 257)):
        grey = (RNG.integers(0, 5, SIZE) * depth).astype(dtype)
        named = images.decode(saved("PNG", transparency=2 * depth)(grey))
        opacity = np.where(grey == 2 * depth, 0, np.iinfo(dtype).max).astype(dtype)
        np.testing.assert_array_equal(
            named, images.decode(encode_png(np.dstack([grey] * 3 + [opacity])))
        )


# ----------------------------------------------------------------------------------------------------------------- label maps


def indexed(colours):
    def encode(ids):
        picture = Image.fromarray(ids, "P")
        picture.putpalette(colours)
        return saved("PNG")(picture)

    return encode


def pgm(ids):
    return b"P2 %d %d 3 " % (ids.shape[1], ids.shape[0]) + " ".join(map(str, ids.ravel())).encode()


SAME_IDS = {
    "palette": indexed(list(range(12))),
    "another palette": indexed(list(range(200, 212))),
    "16 bits": lambda ids: saved("PNG")(ids.astype(np.uint16)),
    "tiff": lambda ids: tiff_files.tiff(ids, 1),
    "big-endian tiff of 16 bits": lambda ids: tiff_files.tiff(ids.astype(np.uint16), 1, order=">"),
    "pgm": pgm,
    "bmp": saved("BMP"),
}


def layout(folder, encode, maps, options=""):
    for i, (pixels, ids) in enumerate(zip(PICTURES, maps)):
        for part, data in (("images", saved("PNG")(pixels)), ("labels", encode(ids))):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{i}.png").write_bytes(data)
    return jaxgan.data.open(f"layout:{folder}{options}", progress=False)


@pytest.mark.parametrize("name", SAME_IDS)
def test_the_same_ids_in_another_file_are_the_same_set(tmp_path, name):
    first = layout(tmp_path / "a", saved("PNG"), IDS)
    assert layout(tmp_path / "b", SAME_IDS[name], IDS).fingerprint == first.fingerprint


def test_masks_of_any_two_levels_show_the_same(tmp_path):
    masks = [ids % 2 for ids in IDS]
    ways = {
        "bit": lambda x: saved("PNG")(x > 0),
        "byte": lambda x: saved("PNG")(x * 255),
        "word": lambda x: saved("PNG")(x.astype(np.uint16) * 65_535),
    }
    found = [
        layout(tmp_path / name, encode, masks, "?classes=ground,thing")
        for name, encode in ways.items()
    ]
    assert len({each.fingerprint for each in found}) == 1
    np.testing.assert_array_equal(found[0].arrays["layout"], masks)


def test_colours_of_classes_change_their_numbers_only(tmp_path):
    """Coloured maps, converted: the numbers follow the order of the colours; with a palette they follow its order."""
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]], np.uint8)
    (tmp_path / "maps").mkdir()
    for i, ids in enumerate(IDS):
        (tmp_path / "maps" / f"{i}.png").write_bytes(saved("PNG")(colours[ids]))
    lines = [f"class{i} {' '.join(map(str, colour))}\n" for i, colour in enumerate(colours)]
    for name, order in (("in order", [0, 1, 2, 3]), ("reversed", [3, 2, 1, 0])):
        (tmp_path / "palette.txt").write_text("".join(lines[i] for i in order))
        colour_layouts.run(tmp_path / "maps", tmp_path / name, palette=tmp_path / "palette.txt")
        for i, ids in enumerate(IDS):
            np.testing.assert_array_equal(
                images.decode_ids((tmp_path / name / f"{i}.png").read_bytes()),
                np.argsort(order)[ids],
            )
    colour_layouts.run(tmp_path / "maps", tmp_path / "own")
    darkest_first = np.argsort(np.argsort(colours.astype(int) @ [65536, 256, 1]))
    np.testing.assert_array_equal(
        images.decode_ids((tmp_path / "own" / "0.png").read_bytes()), darkest_first[IDS[0]]
    )


# ---------------------------------------------------------------------------------------------------------------- attributes


def test_a_set_that_tells_nothing_of_an_attribute_changes_no_figure_of_it(monkeypatch):
    from jaxgan.metrics import judges

    names, logits = ("hat", "tie", "glass"), RNG.normal(size=(20, 3)).astype(np.float32)
    judge = judges.Judge("attributes", "", None, None, {"outputs": list(names), "groups": []})  # type: ignore[arg-type]
    monkeypatch.setattr(judges, "logits", lambda judge, images: logits[: len(images)])
    pixels, truth = np.zeros((20, 4, 4, 3), np.uint8), RNG.integers(0, 2, (20, 3))

    def one(rows, columns):
        return jaxgan.data.with_attributes(
            jaxgan.data.from_arrays("x", pixels[rows]),
            truth[rows][:, columns],
            [names[i] for i in columns],
        )

    both = jaxgan.data.combine([one(slice(0, 12), [0, 1]), one(slice(12, 20), [2])])
    shares = judges.attribute_accuracy(
        judge, both.arrays["image"], both.arrays["attributes"], both.told
    )
    right = (logits > 0) == truth
    assert shares == {
        "hat": right[:12, 0].mean(),
        "tie": right[:12, 1].mean(),
        "glass": right[12:, 2].mean(),
    }
