from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxgan.data
from jaxgan.data.digit_views import COLOURS, INKS, in_inks, ink, outline, render

DIGITS = load_digits().images / 16
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
BLUE, CREAM = (0, 64, 160), (255, 236, 200)


def is_colour(image, rgb):
    return (image == np.array(rgb)).all(-1)


def test_strokes_are_enlarged_bilinearly():
    """Against Pillow, whose bilinear enlargement has the same half-pixel centres."""
    from PIL import Image

    views = render(DIGITS[:20], "recolour", "a")
    assert views.shape == (20, 16, 16, 3)
    assert views.dtype == np.uint8
    for digit, view in zip(DIGITS, views):
        expected = np.asarray(
            Image.fromarray(digit.astype(np.float32)).resize((16, 16), Image.Resampling.BILINEAR)
        )
        np.testing.assert_allclose(view, np.repeat(255 * expected[..., None], 3, -1), atol=0.51)


def test_a_ramp_by_hand():
    ramp = np.array([[[0.0, 1.0]]])  # coverage 0, 1/4, 3/4, 1
    row = np.array([0, 64, 191, 255])
    np.testing.assert_array_equal(
        render(ramp, "recolour", "a"), np.tile(row[None, None, :, None], (1, 2, 1, 3))
    )
    expected = [[255, 236, 200], [191, 193, 190], [64, 107, 170], [0, 64, 160]]
    np.testing.assert_array_equal(render(ramp, "recolour", "b")[0, 1], expected)


def test_recolour_is_one_exact_colour_map_in_each_direction():
    a, b = (render(DIGITS, "recolour", domain).astype(int) for domain in "ab")
    paper, ink = (np.array(colour) for colour in COLOURS["b"])
    np.testing.assert_array_equal(a, 255 - b[..., :1] + np.zeros_like(a))  # b -> a
    np.testing.assert_array_equal(b, np.round(paper + (ink - paper) * (a / 255)))  # a -> b
    assert len(np.unique(a)) > 200  # shades, not two colours
    assert len(np.unique(b.reshape(-1, 3), axis=0)) == len(np.unique(a))


def test_outline_fills_in_a_and_draws_the_rim_in_b():
    a, b = (render(DIGITS, "outline", domain) for domain in "ab")
    filled, drawn = is_colour(a, WHITE), is_colour(b, BLUE)
    assert (filled | is_colour(a, BLACK)).all()
    assert (drawn | is_colour(b, CREAM)).all()
    # The stroke is where the blended rendering covers at least half; 127.5 is 1/2.
    np.testing.assert_array_equal(filled, render(DIGITS, "recolour", "a")[..., 0] >= 128)
    for n in range(0, len(a), 100):  # by the definition, pixel by pixel
        for y in range(16):
            for x in range(16):
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                open_side = any(
                    not (0 <= v < 16 and 0 <= u < 16) or not filled[n, v, u] for v, u in around
                )
                assert drawn[n, y, x] == (filled[n, y, x] and open_side)
    assert not (drawn & ~filled).any()


def test_a_square_has_a_ring():
    square = np.zeros((1, 7, 7), bool)
    square[0, 1:6, 2:7] = True  # touches the border on the right, where there is a rim too
    ring = square.copy()
    ring[0, 2:5, 3:6] = False
    np.testing.assert_array_equal(outline(square), ring)
    np.testing.assert_array_equal(outline(ring), ring)


def test_no_map_of_single_pixels_solves_outline_but_images_determine_each_other():
    a, b = (render(DIGITS, "outline", domain) for domain in "ab")
    filled, drawn = is_colour(a, WHITE), is_colour(b, BLUE)
    # The best such map paints white by majority, and still errs on two fifths of the stroke.
    assert 0.35 < (filled & ~drawn).sum() / filled.sum() < 0.45
    strokes, both = (
        len(np.unique(x.reshape(len(a), -1), axis=0))
        for x in (filled, np.stack([filled, drawn], 1))
    )
    assert strokes == both == len(np.unique(drawn.reshape(len(a), -1), axis=0)) == 1793


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((DIGITS, "paint", "a"), "task must be one of 'recolour', 'outline', got 'paint'"),
        ((DIGITS, "outline", "A"), "domain must be one of 'a', 'b', got 'A'"),
        ((DIGITS[0], "outline", "a"), r"digits must be \[N, H, W\], got \[8, 8\]"),
        ((DIGITS * 16, "outline", "a"), "digits must be between 0 and 1"),
    ],
)
def test_settings_out_of_range(arguments, told):
    with pytest.raises(ValueError, match=told):
        render(*arguments)


@pytest.mark.parametrize("task", ["recolour", "outline"])
def test_paired_digits_are_aligned(task):
    for split, part in (("train", DIGITS[:1500]), ("test", DIGITS[1500:]), ("all", DIGITS)):
        data = jaxgan.data.open(f"paired:digits?task={task}", split=split, progress=False)
        assert list(data.arrays) == ["a", "b"]
        for domain in "ab":
            np.testing.assert_array_equal(data.arrays[domain], render(part, task, domain))
        assert (data.size, data.image_size, data.channels) == (len(part), (16, 16), 3)
        assert not data.independent
        assert data.cache is None


def test_unpaired_digits_are_disjoint():
    for split, first, last in (("train", 0, 1500), ("test", 1500, 1797)):
        data = jaxgan.data.open("unpaired:digits", split=split, progress=False)
        assert data.independent
        np.testing.assert_array_equal(
            data.arrays["a"], render(DIGITS[first:last:2], "recolour", "a")
        )
        np.testing.assert_array_equal(
            data.arrays["b"], render(DIGITS[first + 1 : last : 2], "recolour", "b")
        )
        assert len(data.arrays["a"]) + len(data.arrays["b"]) == last - first
        assert data.size == len(data.arrays["a"]) == (last - first + 1) // 2


def test_default_task_size_and_channels():
    default, named = (
        jaxgan.data.open(spec, progress=False)
        for spec in ("paired:digits", "paired:digits?task=recolour")
    )
    assert default.fingerprint == named.fingerprint
    assert (
        default.fingerprint
        != jaxgan.data.open("paired:digits?task=outline", progress=False).fingerprint
    )
    for kind in ("paired", "unpaired"):
        data = jaxgan.data.open(
            f"{kind}:digits", split="test", image_size=(8, 12), channels=(1, 3), progress=False
        )
        assert (data.arrays["a"].shape[1:], data.arrays["b"].shape[1:]) == ((8, 12, 1), (8, 12, 3))
        with pytest.raises(ValueError, match="read-only"):
            data.arrays["b"][0] = 0


@pytest.mark.parametrize(
    ("spec", "split", "told"),
    [
        (
            "paired:digits?task=paint",
            "train",
            "has the unknown task 'paint': the tasks are recolour, outline",
        ),
        ("unpaired:digits?job=outline", "train", "has the unknown option 'job': known here: task"),
        ("unpaired:digits", "val", "digits has no split 'val': its splits are train, test, all"),
    ],
)
def test_bad_specs(spec, split, told, failure):
    assert told in failure(spec, split=split)


# -------------------------------------------------------------------------------------------------------------- inks


def test_inks_are_the_grey_of_the_strokes_in_colour():
    digits = DIGITS[:30]
    drawn, number = in_inks(digits)
    grey = render(digits, "recolour", "a")[..., :1].astype(int)
    np.testing.assert_array_equal(number, np.arange(30) % 3)
    for i, colour in enumerate(INKS.values()):
        np.testing.assert_array_equal(
            drawn[number == i], np.round(grey[number == i] * np.array(colour) / 255)
        )
    np.testing.assert_array_equal(
        drawn.max(-1, keepdims=True), grey
    )  # nothing of the stroke is lost
    # At full coverage an ink is itself; at half, half of it.
    ramp = np.array([[[[0] * 3, [255] * 3, [51] * 3]]], np.uint8)
    np.testing.assert_array_equal(ink(ramp, "red")[0, 0], [[0, 0, 0], [255, 64, 48], [51, 13, 10]])


def test_the_true_translation_between_inks_is_exact():
    white = render(DIGITS, "recolour", "a")
    drawn = {colour: ink(white, colour) for colour in INKS}
    for image in drawn.values():
        for colour in INKS:
            np.testing.assert_array_equal(ink(image, colour), drawn[colour])
    assert not any(
        (drawn[a] == drawn[b]).all((1, 2, 3)).any()
        for a, b in (("red", "green"), ("red", "blue"), ("green", "blue"))
    )


@pytest.mark.parametrize(("split", "part"), [("train", DIGITS[:1500]), ("test", DIGITS[1500:])])
def test_digits_with_an_attribute(split, part):
    data = jaxgan.data.open("attributes:digits", split=split, progress=False)
    assert (data.attributes, data.groups, data.cache) == (
        ("red", "green", "blue"),
        (("ink", 3),),
        None,
    )
    number = np.arange(len(part)) % 3
    np.testing.assert_array_equal(data.arrays["attributes"], np.eye(3)[number])
    np.testing.assert_array_equal(data.arrays["image"], in_inks(part)[0])
    larger = jaxgan.data.open(
        "attributes:digits", split=split, image_size=(8, 12), channels=4, progress=False
    )
    assert larger.arrays["image"].shape == (len(part), 8, 12, 4)
    np.testing.assert_array_equal(larger.arrays["attributes"], data.arrays["attributes"])


def test_inks_tell_nothing_of_the_class():
    table = np.zeros((10, 3))
    np.add.at(table, (load_digits().target, np.arange(len(DIGITS)) % 3), 1)
    assert (abs(table / table.sum(1, keepdims=True) - 1 / 3) < 0.06).all()


@pytest.mark.parametrize(
    ("images", "colour", "told"),
    [
        (
            np.zeros((1, 2, 2, 3), np.uint8),
            "pink",
            "colour must be one of 'red', 'green', 'blue', got 'pink'",
        ),
        (
            np.zeros((1, 2, 2, 3)),
            "red",
            r"images must be uint8 \[N, H, W, 3\], got float64 \[1, 2, 2, 3\]",
        ),
        (
            np.zeros((2, 2, 3), np.uint8),
            "red",
            r"images must be uint8 \[N, H, W, 3\], got uint8 \[2, 2, 3\]",
        ),
    ],
)
def test_inks_of_what_does_not_fit(images, colour, told):
    with pytest.raises(ValueError, match=told):
        ink(images, colour)
