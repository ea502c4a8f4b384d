"""Tiles cover an image evenly, have one shape, and blend with weights that sum to 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.pictures import tiles


@st.composite
def layouts(draw, longest=300):
    tile = draw(st.integers(1, 80))
    return draw(st.integers(1, longest)), tile, draw(st.integers(0, tile - 1))


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_tiles_reach_everywhere_with_the_overlap_asked_for(layout):
    length, tile, overlap = layout
    first = tiles.starts(*layout)
    side = min(tile, length)
    assert first[0] == 0
    assert first[-1] + side == length
    steps = np.diff(first)
    assert (steps > 0).all()
    assert (side - steps >= overlap).all()
    assert len(steps) == 0 or np.ptp(steps) <= 1
    # One tile fewer could not do it: with the least overlap they reach less far.
    assert len(first) == 1 or side + (len(first) - 2) * (tile - overlap) < length


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_weights_sum_to_one(layout):
    length, tile, _ = layout
    weights, total = tiles.weights(*layout), np.zeros(length)
    assert weights.shape == (len(tiles.starts(*layout)), min(tile, length))
    assert weights.min() > 0
    assert weights.max() <= 1
    for begin, one in zip(tiles.starts(*layout), weights):
        total[begin : begin + len(one)] += one
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-14)


def test_weights_are_a_squared_sine_over_the_overlap():
    weights = tiles.weights(12, 8, 4)  # tiles 0..8 and 4..12
    rise = np.sin(np.pi / 2 * (np.arange(4) + 0.5) / 4) ** 2
    np.testing.assert_allclose(weights[0], [1, 1, 1, 1, *(1 - rise)], atol=1e-15)
    np.testing.assert_allclose(weights[1], [*rise, 1, 1, 1, 1], atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(layouts(90), st.integers(1, 90), st.integers(1, 3))
def test_a_map_of_pixels_alone_is_blended_exactly(layout, width, channels):
    height, tile, overlap = layout
    image = (
        np.random.default_rng(height * width)
        .uniform(-1, 1, (height, width, channels))
        .astype(np.float32)
    )
    boxes = tiles.boxes((height, width), tile, overlap)
    assert {image[box].shape for box in boxes} == {(min(height, tile), min(width, tile), channels)}
    result = tiles.blend((-0.3 * image[box] for box in boxes), (height, width), tile, overlap)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, -0.3 * image)


def test_a_seam_is_faded():
    """Two tiles that disagree by 1: from one to the other in small steps, never backwards."""
    result = tiles.blend([np.zeros((4, 40, 1)), np.ones((4, 40, 1))], (4, 60), 40, 20)[2, :, 0]
    assert (result[:20] == 0).all()
    assert (result[40:] == 1).all()
    assert (np.diff(result) >= 0).all()
    assert np.diff(result).max() < 0.08


def test_a_map_with_a_receptive_field_differs_near_cuts_only():
    """A 5 x 5 mean with zeros outside: two pixels from a tile's border it is exact, and all that is cut carries little weight."""
    image = np.random.default_rng(0).uniform(-1, 1, (64, 90, 1)).astype(np.float32)

    def mean(x):
        wide = np.pad(x, ((2, 2), (2, 2), (0, 0)))
        return (
            sum(wide[i : i + x.shape[0], j : j + x.shape[1]] for i in range(5) for j in range(5))
            / 25
        )

    boxes = tiles.boxes((64, 90), 40, 16)
    result = tiles.blend((mean(image[box]) for box in boxes), (64, 90), 40, 16)
    near = np.zeros((64, 90), bool)
    for rows, columns in boxes:
        for cut in (rows.start, rows.stop):
            if cut not in (0, 64):
                near[cut - 2 : cut + 2] = True
        for cut in (columns.start, columns.stop):
            if cut not in (0, 90):
                near[:, cut - 2 : cut + 2] = True
    error = np.abs(result - mean(image))[..., 0]
    assert error[~near].max() < 1e-6
    assert 1e-6 < error[near].max() < 0.02


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ((10, 4, 4), "overlap 4 of tile 4"),
        ((10, 4, -1), "not below 0"),
        ((0, 4, 0), "at least one pixel"),
    ],
)
def test_impossible_layouts(layout, message):
    with pytest.raises(ValueError, match=message):
        tiles.starts(*layout)


def test_parts_must_be_those_of_the_boxes():
    with pytest.raises(ValueError, match="tile 1 must have 4x4 pixels, got 4x3"):
        tiles.blend([np.zeros((4, 4, 1)), np.zeros((4, 3, 1))], (4, 7), 4, 1)
    with pytest.raises(ValueError, match="shorter"):
        tiles.blend([np.zeros((4, 4, 1))], (4, 7), 4, 1)
