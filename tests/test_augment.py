"""DiffAugment and ADA by their definitions: every operation against NumPy or a closed form, how often each is drawn, gradients, and how p moves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxgan import augment
from jaxgan.augment import Augmentation, Parts, diff, filters, geometry, pipe

KEY = jax.random.key(5)
MANY = 4000
EVERY = tuple(pipe.GROUPS)
KINDS = {
    "ada": jax.jit(lambda x, keys: augment.ada(x, keys, 0.7, EVERY)),
    "diffaugment": jax.jit(augment.diff_augment),
}
DIFF = jax.jit(diff.draw, static_argnums=1)
DRAW = jax.jit(pipe.draw, static_argnums=(1, 3))
APPLY = jax.jit(pipe.apply, static_argnums=2)
RECOLOUR = jax.jit(pipe.recolour)
RESAMPLE = jax.jit(geometry.resample)


@functools.cache
def images(count: int = 5, height: int = 16, width: int = 12, channels: int = 3) -> np.ndarray:
    return (
        np.random.default_rng(0).uniform(-1, 1, (count, height, width, channels)).astype(np.float32)
    )


def keys(count: int = 5) -> jax.Array:
    return jax.random.split(KEY, count)


def close(actual, expected, atol=2e-6):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


# --------------------------------------------------------------------------------------------------------------- DiffAugment


def by_hand(transform: dict, x: np.ndarray, i: int) -> np.ndarray:
    """DiffAugment of one image [H, W, C], index by index."""
    t = {name: np.asarray(leaf)[i] for name, leaf in transform.items()}
    x = x + t["brightness"]
    grey = x.mean(axis=-1, keepdims=True)
    x = (x - grey) * t["saturation"] + grey
    x = (x - x.mean()) * t["contrast"] + x.mean()
    moved, (height, width, _) = np.zeros_like(x), x.shape
    for row in range(height):
        for column in range(width):
            source = row - t["shift"][0], column - t["shift"][1]
            hole = all(
                0 <= place - start < size
                for place, start, size in zip((row, column), t["hole"], (height // 2, width // 2))
            )
            if 0 <= source[0] < height and 0 <= source[1] < width and not hole:
                moved[row, column] = x[source]
    return moved


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_diff_augment_by_hand(channels):
    x = images(channels=channels)
    result = KINDS["diffaugment"](x, keys())
    transform = DIFF(keys(), (16, 12))
    for i in range(5):
        close(result[i], by_hand(transform, x[i], i))
    assert len({tuple(shift) for shift in np.asarray(transform["shift"]).tolist()}) > 1


def test_diff_augment_draws_the_published_ranges():
    t = jax.tree.map(np.asarray, DIFF(keys(MANY), (16, 12)))
    for name, low, high in (
        ("brightness", -0.5, 0.5),
        ("saturation", 0, 2),
        ("contrast", 0.5, 1.5),
    ):
        assert low <= t[name].min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < t[name].max() <= high
        assert abs(t[name].mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * MANY)
    for axis, values in (
        (0, range(-2, 3)),
        (1, range(-2, 3)),
    ):  # an eighth of 16, and of 12 rounded
        shares = [np.mean(t["shift"][:, axis] == value) for value in values]
        close(shares, 0.2, 5 * np.sqrt(0.16 / MANY))
    # The hole's middle is on any of 17 places of 16 pixels, on any of 13 of 12: rectangles of 8 and 6.
    for axis, (first, last) in enumerate(((-4, 12), (-3, 9))):
        shares = [np.mean(t["hole"][:, axis] == start) for start in range(first, last + 1)]
        close(shares, 1 / len(shares), 5 * np.sqrt(1 / len(shares) / MANY))
        assert sum(shares) == pytest.approx(1)
    assert (
        abs(
            np.corrcoef(
                np.stack(
                    [
                        t["brightness"],
                        t["saturation"],
                        t["contrast"],
                        t["shift"][:, 0],
                        t["hole"][:, 1],
                    ]
                )
            )[0, 1:]
        ).max()
        < 0.08
    )


def test_the_policy_says_what_is_done():
    x, transform = images(), DIFF(keys(), (16, 12))
    moved = jax.jit(lambda x: augment.diff_augment(x, keys(), policy=("translation",)))(x)
    for i, (down, right) in enumerate(np.asarray(transform["shift"])):
        padded = np.pad(x[i], ((2, 2), (2, 2), (0, 0)))
        np.testing.assert_array_equal(
            moved[i], padded[2 - down : 18 - down, 2 - right : 14 - right]
        )
    with pytest.raises(
        ValueError,
        match=r"augment\.policy must be one of 'color', 'translation', 'cutout', got 'colour'",
    ):
        augment.diff_augment(x, keys(), policy=("colour",))


# ------------------------------------------------------------------------------------------------------------------ geometry


def drawn(**settings) -> dict:
    """The transform of one example in which only the operations named are on, at these numbers (uniform in (-1, 1), or normal)."""
    on = {
        name: jnp.bool_(
            name.split()[0] in {setting.split()[0] for setting in settings} or name in settings
        )
        for name in pipe.GATES
    }
    on["rotate after"], on["rotate"] = (
        jnp.bool_("rotate after" in settings),
        jnp.bool_("rotate" in settings),
    )
    uniform, normal = (
        {name: jnp.float32(settings.get(name, 0)) for name in names}
        for names in (pipe.UNIFORMS, pipe.NORMALS)
    )
    return _transform(on, uniform, normal, settings.get("size", (16, 16)))


@functools.partial(jax.jit, static_argnums=3)
def _transform(on, uniform, normal, size):
    return jax.tree.map(
        lambda leaf: leaf[None],
        pipe._moves(on, uniform, normal, size) | pipe._colours(on, uniform, normal),
    )


def test_whole_pixels_move_exactly():
    """Mirrored and turned bit for bit; translations as NumPy reflects."""
    x = images(1, 16, 16)
    for quarter, number in enumerate((-0.9, -0.2, 0.2, 0.9)):
        np.testing.assert_array_equal(APPLY(drawn(rotate90=number), x)[0], np.rot90(x[0], quarter))
        both = APPLY(drawn(rotate90=number, xflip=0.5), x)[0]
        np.testing.assert_array_equal(both, np.rot90(x[0, :, ::-1], quarter))
    np.testing.assert_array_equal(APPLY(drawn(xflip=-0.5), x), x)
    padded = np.pad(x[0], ((3, 3), (3, 3), (0, 0)), mode="reflect")
    for right, down in ((2, -1), (-2, 2), (0, 1)):
        moved = APPLY(drawn(**{"xint x": right / 2, "xint y": down / 2}), x)[
            0
        ]  # an eighth of 16 at most
        close(moved, padded[3 - down : 19 - down, 3 - right : 19 - right])


def test_small_images_move_exactly_too():
    """The filters read further than there are pixels to reflect once."""
    x = images(1, 4, 4)
    transform = {**drawn(size=(4, 4)), "inverse": jnp.array([[[1.0, 0, -1], [0, 1, 0], [0, 0, 1]]])}
    close(APPLY(transform, x)[0], np.pad(x[0], ((0, 0), (1, 0), (0, 0)), mode="reflect")[:, :4])


def reference_resample(image: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """One channel [H, W] by the recipe, with SciPy: reflect, double by zeros and sym6, sample bilinearly, filter back and keep every other pixel."""
    height, width = image.shape
    taps = np.array(geometry.SYM6)
    padded = np.pad(
        image, ((height - 1, height - 1), (width - 1, width - 1)), mode="reflect"
    ).astype(np.float64)
    doubled = np.zeros((2 * padded.shape[0], 2 * padded.shape[1]))
    doubled[::2, ::2] = padded
    for axis in range(2):
        doubled = np.apply_along_axis(
            lambda row: np.convolve(row, np.sqrt(2) * taps)[5 : 5 + len(row)], axis, doubled
        )
    rows, columns = np.meshgrid(
        np.arange(-6, 2 * height + 6), np.arange(-6, 2 * width + 6), indexing="ij"
    )
    centred = np.stack(
        [columns / 2 - (width - 1) / 2, rows / 2 - (height - 1) / 2, np.ones(rows.shape)]
    )
    x, y, _ = np.einsum("ij,jrc->irc", inverse.astype(np.float64), centred)
    places = [2 * (y + (height - 1) / 2 + height - 1), 2 * (x + (width - 1) / 2 + width - 1)]
    sampled = ndimage.map_coordinates(doubled, places, order=1, mode="grid-constant")
    for axis in range(2):
        sampled = np.apply_along_axis(
            lambda row: np.correlate(row, taps / np.sqrt(2), "valid")[1::2], axis, sampled
        )
    return sampled[:height, :width]


@pytest.mark.parametrize("size", [(16, 12), (9, 20)])
def test_resampling_is_the_recipe(size):
    """Turned, scaled, sheared and moved, also beyond what is reflected: as SciPy does step by step."""
    x = images(4, *size, 2)
    random = np.random.default_rng(1)
    inverse = np.tile(np.eye(3, dtype=np.float32), (4, 1, 1))
    inverse[:3, :2] += random.normal(0, 0.4, (3, 2, 3)).astype(np.float32) * np.array(
        [1, 1, 8], np.float32
    )
    inverse[2, :2, :2] *= 4  # as far as black
    result = np.asarray(RESAMPLE(x, inverse))
    for i in range(3):
        for channel in range(2):
            close(
                result[i, :, :, channel], reference_resample(x[i, :, :, channel], inverse[i]), 2e-5
            )
    assert np.mean(np.abs(result[2]) < 0.01) > 0.1
    np.testing.assert_array_equal(result[3], x[3])


def test_a_turned_wave_is_the_turned_wave():
    """A smooth image, turned by 30 degrees and enlarged, is the formula at the turned places, away from the border."""
    places = np.arange(32) - 15.5
    inverse = np.asarray(drawn(rotate=1 / 6, scale=1.0, size=(32, 32))["inverse"][0], np.float64)

    def wave(x, y):
        return np.sin(0.3 * x + 0.1) * np.cos(0.2 * y)

    x, y = np.meshgrid(places, places)
    moved = np.einsum("ij,jrc->irc", inverse, np.stack([x, y, np.ones_like(x)]))
    image = jnp.float32(wave(x, y))[None, :, :, None]
    result = RESAMPLE(image, jnp.float32(inverse)[None])[0, :, :, 0]
    inner = slice(8, 24)
    close(result[inner, inner], wave(*moved[:2])[inner, inner], 0.02)
    np.testing.assert_allclose(np.linalg.det(inverse), 2**-0.4, rtol=1e-5)


def test_the_inverse_is_the_product_in_order():
    """A point of the image goes through translation, scaling, rotation, anisotropic scaling, rotation, translation; the inverse leads back."""
    numbers = {
        "xint x": 0.9,
        "xint y": -0.6,
        "scale": 1.5,
        "rotate": 0.3,
        "aniso": -0.8,
        "rotate after": -0.7,
        "xfrac x": 0.4,
        "xfrac y": -1.1,
    }
    inverse = np.asarray(drawn(**numbers, size=(16, 24))["inverse"][0], np.float64)
    assert inverse.shape == (3, 3)

    def turned(point, angle):
        return np.array(
            [
                np.cos(angle) * point[0] + np.sin(angle) * point[1],
                -np.sin(angle) * point[0] + np.cos(angle) * point[1],
            ]
        )

    start = np.array([2.0, -3.0])
    point = start + [round(0.9 * 3), round(-0.6 * 2)]
    point = turned(point * 2 ** (0.2 * 1.5), 0.3 * np.pi)
    point = turned(point * [2 ** (0.2 * -0.8), 2 ** (0.2 * 0.8)], -0.7 * np.pi)
    point = point + [0.4 * 24 / 8, -1.1 * 16 / 8]
    close(inverse @ [*point, 1], [*start, 1], 1e-4)


def test_oblong_images_turn_by_resampling():
    """An odd quarter of an oblong image is in the matrix, a half turn is not."""
    quarter, half = (drawn(rotate90=number, size=(16, 12)) for number in (-0.2, 0.2))
    assert (int(quarter["turns"][0]), int(half["turns"][0])) == (0, 2)
    close(quarter["inverse"][0], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(half["inverse"][0], np.eye(3))
    x = images(1)
    np.testing.assert_array_equal(APPLY(half, x)[0], np.rot90(x[0], 2))


def test_labels_move_as_images_do():
    x, labels = images(1, 16, 16), np.random.default_rng(2).integers(0, 5, (1, 16, 16))
    transform = drawn(**{"xflip": 0.5, "rotate90": -0.2, "xint x": 0.5, "xint y": 1.0})
    settings = Augmentation("ada")
    np.testing.assert_array_equal(
        augment.move_labels(settings, transform, labels)[0], np.asarray(_moved(labels[0]))
    )
    close(APPLY(transform, x, Parts(3, 0))[0], _moved(x[0]))
    # Half-planes, turned and enlarged: the same places in the label map and in the image, but for its border.
    plane = (np.arange(16)[None, :] + 0 * np.arange(16)[:, None] > 6)[None]
    turn = drawn(rotate=0.21, scale=1.0)
    shown = RESAMPLE(plane[..., None].astype(np.float32), turn["inverse"])[..., 0] > 0.5
    assert np.mean(shown != augment.move_labels(settings, turn, plane)) < 0.05
    moved = augment.move_labels(
        Augmentation("diffaugment"), DIFF(keys(1), (16, 16)), labels, fill=9
    )
    down, right = np.asarray(DIFF(keys(1), (16, 16))["shift"][0])
    np.testing.assert_array_equal(
        moved[0],
        np.pad(labels[0], 2, constant_values=9)[2 - down : 18 - down, 2 - right : 18 - right],
    )


def _moved(array: np.ndarray) -> np.ndarray:
    """Mirrored, turned once, one to the right and two down."""
    turned = np.rot90(array[:, ::-1])
    return np.pad(turned, ((2, 0), (1, 0), *[(0, 0)] * (array.ndim - 2)), mode="reflect")[:16, :16]


# ------------------------------------------------------------------------------------------------------------------- colours


def recoloured(x: np.ndarray, **settings) -> np.ndarray:
    return np.asarray(RECOLOUR(drawn(**settings), x))


def test_colours_by_hand():
    x = images(1)
    grey = x.mean(axis=-1, keepdims=True)
    np.testing.assert_array_equal(recoloured(x), x)
    close(recoloured(x, brightness=1.5), x + 0.3)
    close(recoloured(x, contrast=-2.0), x / 2)
    close(recoloured(x, lumaflip=0.5), x - 2 * grey)
    np.testing.assert_array_equal(recoloured(x, lumaflip=-0.5), x)
    close(recoloured(x, saturation=2.0), grey + 4 * (x - grey))
    close(recoloured(x, hue=2 / 3), np.roll(x, 1, axis=-1))  # 120 degrees: red to green to blue
    half = recoloured(x, hue=1.0)
    close(half, 2 * grey - x)
    close(recoloured(half, hue=1.0), x)  # 360 degrees
    close(
        recoloured(x, brightness=1.0, contrast=2.0, lumaflip=0.5, hue=2 / 3, saturation=-1.0),
        _all_colours(x),
        1e-5,
    )


def _all_colours(x: np.ndarray) -> np.ndarray:
    """In the order brightness, contrast, luma flip, hue, saturation."""
    x = 2 * (x + 0.2)
    x = np.roll(x - 2 * x.mean(axis=-1, keepdims=True), 1, axis=-1)
    grey = x.mean(axis=-1, keepdims=True)
    return grey + 0.5 * (x - grey)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_colours_of_other_depths(channels):
    """Grey is RGB of equal channels; two, four and more have brightness and contrast."""
    x = images(1, channels=channels)
    result = recoloured(x, brightness=1.0, contrast=2.0, lumaflip=0.5, hue=0.4, saturation=-1.0)
    close(result, (-2 if channels == 1 else 2) * (x + 0.2))
    if channels == 1:
        settings = {"brightness": 1.0, "contrast": 2.0, "lumaflip": 0.5}
        close(recoloured(np.repeat(x, 3, axis=-1), **settings)[..., :1], recoloured(x, **settings))


# ----------------------------------------------------------------------------------------------------------- filters and holes


def test_the_filter_bank():
    """The bands sum to the identity; each gain is what a wave of its band is multiplied with; the expected power stays."""
    bank = filters.filter_bank()
    assert bank.shape == (4, 43)
    close(bank.sum(axis=0), np.eye(43)[21], 1e-9)
    close(bank, bank[:, ::-1], 1e-12)
    amplify = jax.jit(filters.amplify)
    strengths = jnp.array([[1.0, 1, 1, 1], [4.0, 1, 1, 1], [1.0, 1, 1, 8], [2.0, 3, 0.5, 1]])
    gains = np.asarray(filters.band_gains(strengths), np.float64)
    close(np.sum([10 / 13, 1 / 13, 1 / 13, 1 / 13] * gains[1] ** 2), 1)
    close(gains[1] / gains[1, 1], [4, 1, 1, 1], 1e-5)
    flat, finest = (
        np.ones((4, 64, 64, 1), np.float32),
        np.tile(np.float32((-1) ** np.arange(65)[:64]), (64, 1)),
    )
    close(amplify(flat, strengths)[:, 32, 32, 0], gains[:, 0] ** 2, 1e-5)  # along both axes
    waves = np.tile(finest[None, :, :, None], (4, 1, 1, 1))
    close(np.abs(amplify(waves, strengths)[:, 32, 32, 0]), gains[:, 0] * gains[:, 3], 1e-5)
    x = images(4)
    result = np.asarray(amplify(x, strengths))
    np.testing.assert_array_equal(result[0], x[0])
    taps = gains[3] @ bank
    expected = ndimage.correlate1d(
        ndimage.correlate1d(x[3].astype(np.float64), taps, axis=0, mode="mirror"),
        taps,
        axis=1,
        mode="mirror",
    )
    close(result[3], expected, 1e-5)


def test_noise_and_cutout():
    count, change = 1500, jax.jit(augment.ada, static_argnums=3)
    x = np.ones((count, 8, 12, 1), np.float32)
    noise = np.asarray(change(x, keys(count), 1.0, ("noise",))) - 1
    levels = noise.std(axis=(1, 2, 3))
    np.testing.assert_allclose(np.sqrt(np.mean(levels**2)), 0.1, rtol=0.05)
    np.testing.assert_allclose(np.mean(levels), 0.1 * np.sqrt(2 / np.pi), rtol=0.05)
    hidden = np.asarray(change(x, keys(count), 1.0, ("cutout",)))[..., 0] == 0
    assert set(np.unique(hidden.any(axis=2).sum(axis=1))) <= {2, 3, 4}
    assert set(np.unique(hidden.any(axis=1).sum(axis=1))) <= {3, 4, 5, 6}
    close(hidden.mean(axis=0)[4, 6], 0.25, 0.05)  # half of each side, seen from the middle


# ---------------------------------------------------------------------------------------------------------------- how often


SHARES = {"xflip": 1 / 2, "rotate90": 3 / 4, "xint": 15 / 16, "lumaflip": 1 / 2}
"""Of the times an operation is drawn, how often it does something. xint of 16 pixels rounds uniform numbers within 2, of which a quarter are 0, on two axes."""
TOGETHER = (
    ("xflip", "xint", "brightness", "hue"),
    ("rotate90", "scale", "contrast", "saturation", "cutout"),
    ("rotate", "lumaflip", "noise"),
    ("aniso",),
    ("xfrac",),
)
"""Operations that can be told apart when drawn at once."""


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_operations_act_with_probability_p(names):
    t = jax.tree.map(
        np.asarray, DRAW(keys(MANY), (2, 2, 1) if "noise" in names else (16, 16, 1), 0.3, names)
    )
    moved, neutral = (
        np.any(t.get("inverse", np.eye(3)[None]) != np.eye(3), axis=(1, 2)),
        t.get("contrast", np.ones(MANY)),
    )
    acted = {"xflip": t["flip"], "rotate90": t["turns"] != 0} | dict.fromkeys(
        ("xint", "scale", "rotate", "aniso", "xfrac"), moved
    )
    if "color" in t:
        turned = np.abs(t["color"] / neutral[:, None, None] - np.eye(3)).max(axis=(1, 2)) > 1e-6
        acted |= {
            "brightness": t["offset"] != 0,
            "contrast": neutral != 1,
            "lumaflip": t["lumaflip"] != 0,
            "hue": turned,
            "saturation": turned,
        }
    acted |= {
        name: np.any((t[leaf] != off).reshape(MANY, -1), axis=1)
        for name, leaf, off in (("noise", "noise", 0), ("cutout", "hole", 2))
        if leaf in t
    }
    for name in names:
        expected = 0.3 * SHARES.get(name, 1.0)
        close(acted[name].mean(), expected, 4.5 * np.sqrt(expected * (1 - expected) / MANY))


def test_each_band_is_filtered_with_probability_p():
    t = DRAW(keys(MANY), (16, 16, 1), 0.3, ("filter",))
    close(np.mean(np.asarray(t["strengths"]) != 1, axis=0), 0.3, 4.5 * np.sqrt(0.21 / MANY))


def test_drawn_numbers_have_their_distributions():
    t = jax.tree.map(np.asarray, DRAW(keys(MANY), (16, 16, 3), 1.0, ("scale",)))
    logs = -np.log2(t["inverse"][:, 0, 0])
    close([logs.mean(), logs.std()], [0, 0.2], 5 * 0.2 / np.sqrt(MANY))
    t = jax.tree.map(np.asarray, DRAW(keys(MANY), (16, 32, 3), 1.0, ("xfrac",)))
    close(t["inverse"][:, :2, 2].std(axis=0) * [1 / 32, 1 / 16], 1 / 8, 0.01)
    t = jax.tree.map(np.asarray, DRAW(keys(MANY), (16, 16, 3), 0.51, ("rotate",)))
    angles = np.arctan2(t["inverse"][:, 1, 0], t["inverse"][:, 0, 0])
    once = angles[angles != 0]
    np.testing.assert_allclose(once.std(), np.pi / np.sqrt(3), rtol=0.05)
    t = jax.tree.map(
        np.asarray, DRAW(keys(MANY), (16, 16, 3), 1.0, ("brightness", "contrast", "rotate90"))
    )
    close([t["offset"].std(), np.log2(t["contrast"]).std()], [0.2, 0.5], 0.03)
    close(np.bincount(t["turns"]) / MANY, 1 / 4, 0.035)


def test_p_zero_is_the_identity_to_the_bit():
    x, change = images(), jax.jit(lambda x, p: augment.ada(x, keys(), p, EVERY))
    np.testing.assert_array_equal(change(x, 0.0), x)
    assert np.all(np.any(np.asarray(change(x, 1.0)) != x, axis=(1, 2, 3)))


def test_leaving_out_an_operation_changes_no_other():
    whole, part = (
        DRAW(keys(), (16, 16, 3), 0.8, names)
        for names in (("blit", "color"), ("xflip", "contrast"))
    )
    np.testing.assert_array_equal(whole["flip"], part["flip"])
    np.testing.assert_array_equal(whole["contrast"], part["contrast"])
    assert np.all(part["turns"] == 0)
    assert "inverse" in whole
    assert "inverse" not in part
    with pytest.raises(ValueError, match="pipe must be one of 'blit', 'geom'"):
        pipe.draw(keys(), (16, 16, 3), 0.5, ("colour",))


# ------------------------------------------------------------------------------------------------------- gradients and batches


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_exact(kind):
    """Both are affine in the images, so a finite difference over any distance is exact: <w, f(x + v) - f(x)> = <gradient of <w, f>, v>, image by image."""
    x, v, w = (
        np.random.default_rng(seed).normal(size=(5, 16, 12, 3)).astype(np.float32)
        for seed in range(3)
    )
    difference = np.sum(
        w * np.asarray(KINDS[kind](x + v, keys()) - KINDS[kind](x, keys()), np.float64),
        axis=(1, 2, 3),
    )
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(w * KINDS[kind](x, keys()))))(x)
    np.testing.assert_allclose(
        np.sum(np.asarray(gradient, np.float64) * v, axis=(1, 2, 3)),
        difference,
        rtol=1e-4,
        atol=1e-3,
    )
    assert np.all(np.abs(difference) > 1e-2)


def test_penalties_differentiate_twice():
    """The gradient of |gradient of sum f(x)^2|^2 / 8 is, for linear f, (A^T A)^2 x: compared with the product built from first gradients."""
    x = images(2, 8, 8)
    settings = ("blit", "geom", "contrast")

    def linear(x):
        return augment.ada(x, keys(2), 1.0, settings)

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(linear(x) ** 2) / 2)(x)

    second = jax.jit(jax.grad(lambda x: jnp.sum(gradient(x) ** 2) / 2))(x)
    close(second, jax.jit(lambda x: gradient(gradient(x)))(x), 1e-3)
    assert np.abs(second).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_depends_on_its_key_alone(kind):
    """In another order, under vmap: the same."""
    x = images()
    whole = KINDS[kind](x, keys())
    order = np.array([3, 1, 4, 0, 2])
    close(KINDS[kind](x[order], keys()[order]), whole[order], 1e-5)
    mapped = jax.jit(jax.vmap(lambda image, key: KINDS[kind](image[None], key[None])[0]))(x, keys())
    close(mapped, whole, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_moves_with_its_image_and_keeps_its_colours(kind):
    """Also two images side by side: all three are changed as each alone."""
    settings, x, parts = Augmentation(kind, p=0.9), images(channels=8), Parts(2, 2)
    transform = jax.jit(lambda keys: augment.draw(settings, keys, x.shape, 0.9, parts))(keys())
    change = jax.jit(functools.partial(augment.apply, settings), static_argnums=2)
    whole = change(transform, x, parts)
    close(
        whole[..., 2:],
        np.concatenate([change(transform, x[..., at : at + 3], Parts()) for at in (2, 5)], -1),
        1e-5,
    )
    condition = change(transform, x[..., :2], Parts(2, 0))
    close(whole[..., :2], condition, 1e-5)
    if kind == "diffaugment":
        np.testing.assert_array_equal(
            condition, augment.move_labels(settings, transform, x[..., :2])
        )
    with pytest.raises(
        ValueError, match="8 channels are not 1 of a condition and 2 images of equal depth"
    ):
        augment.draw(Augmentation("ada"), keys(), x.shape, 0.9, Parts(1, 2))


# ------------------------------------------------------------------------------------------------------------------- control


def test_p_follows_the_signs():
    """Every second batch by 2 * 64 / 1000, up above the target, down below, never outside [0, 1], unmoved on it."""
    settings = Augmentation("ada", p=0.9, target=0.5, speed_images=1000, interval=2)
    strength, seen, adapt = (
        augment.new_strength(settings),
        [],
        jax.jit(lambda strength, sign: augment.adapt(settings, strength, sign, 64)),
    )
    for sign in (1.0, 0.2, 1.0, 0.2, 0.5, 0.5, -1.0, 1.0, -1.0, -1.0):
        strength = adapt(strength, jnp.float32(sign))
        seen.append((float(strength.p), float(strength.signs), int(strength.batches)))
    p = [0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.872, 0.872, 0.744]
    close([entry[0] for entry in seen], p, 1e-6)
    close([entry[1] for entry in seen], [1, 0, 1, 0, 0.5, 0, -1, 0, -1, 0], 1e-6)
    assert [entry[2] for entry in seen] == [1, 0] * 5
    down = Augmentation("ada", p=0.01, speed_images=1000, interval=1)
    assert float(augment.adapt(down, augment.new_strength(down), jnp.float32(0.1), 64).p) == 0
    still = Augmentation("ada", p=0.3, speed_images=0, interval=1)
    assert augment.adapt(still, augment.new_strength(still), jnp.float32(1), 64).p == np.float32(
        0.3
    )


def test_bad_settings_are_one_sentence():
    for message, settings in {
        r"Augmentation\.kind must be one of 'none', 'diffaugment', 'ada', got 'ADA'": {
            "kind": "ADA"
        },
        "pipe must be one of 'blit'": {"pipe": ("bgc",)},
        r"augment\.p must be between 0 and 1, got 1\.5": {"p": 1.5},
        r"augment\.target must be between -1 and 1": {"target": 60},
        r"augment\.interval must be at least 1": {"interval": 0},
        "need an entry at least": {"pipe": ()},
    }.items():
        with pytest.raises(ValueError, match=message):
            Augmentation(**settings)
