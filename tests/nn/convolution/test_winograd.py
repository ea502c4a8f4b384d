"""Winograd's convolutions against lax, on every fit of kernel, stride, size and padding, and how they round."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.convolution import winograd
from jaxgan.nn.convolution.geometry import Geometry
from jaxgan.nn.convolution.lax_forms import lax_forward, lax_input_gradient, lax_kernel_gradient

GEOMETRIES = {
    "even": Geometry((8, 10), (8, 10), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "odd": Geometry((9, 7), (9, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "unpadded": Geometry((9, 8), (7, 6), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "padded more": Geometry((4, 5), (6, 5), (3, 3), (1, 1), ((2, 2), (2, 0))),
    "one pixel": Geometry((1, 1), (1, 1), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "four taps": Geometry((9, 8), (8, 7), (4, 4), (1, 1), ((1, 1), (1, 1))),
    "four taps, padded more": Geometry((6, 7), (7, 7), (4, 4), (1, 1), ((2, 2), (2, 1))),
    "four taps, unpadded": Geometry((8, 11), (5, 8), (4, 4), (1, 1), ((0, 0), (0, 0))),
    "stride": Geometry((12, 8), (6, 4), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "stride, odd": Geometry((13, 9), (6, 4), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "stride, unpadded": Geometry((11, 13), (4, 5), (4, 4), (2, 2), ((0, 0), (0, 0))),
    "stride, padded more": Geometry((12, 8), (7, 6), (4, 4), (2, 2), ((2, 2), (3, 3))),
    "stride, tiles of 3x3": Geometry((12, 18), (6, 9), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "stride, tiles of 3x3, padded more": Geometry(
        (36, 14), (19, 9), (4, 4), (2, 2), ((3, 2), (2, 4))
    ),
}
PAIRS = (
    (winograd.winograd_forward, lax_forward, ("x", "kernel")),
    (winograd.winograd_input_gradient, lax_input_gradient, ("g", "kernel")),
    (winograd.winograd_kernel_gradient, lax_kernel_gradient, ("x", "g")),
)


def operands(geometry: Geometry, inputs: int = 5, outputs: int = 7) -> dict[str, jax.Array]:
    channels = (outputs, inputs) if geometry.turned else (inputs, outputs)
    shapes = {
        "x": (3, *geometry.input_size, inputs),
        "g": (3, *geometry.output_size, outputs),
        "kernel": (*geometry.kernel_size, *channels),
    }
    return {
        name: jax.random.normal(jax.random.key(i), shape)
        for i, (name, shape) in enumerate(shapes.items())
    }


def test_tiles_are_those_with_the_fewest_products():
    assert [
        winograd._matrices(GEOMETRIES[name]).tile
        for name in ("even", "four taps", "stride", "stride, tiles of 3x3")
    ] == [2, 2, 2, 3]


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("turned", [False, True])
def test_all_three_equal_lax(name, turned):
    geometry = GEOMETRIES[name]._replace(turned=turned)
    assert winograd.fits(geometry)
    made = operands(geometry)
    for ours, theirs, names in PAIRS:
        wanted, found = (
            np.asarray(jax.jit(form, static_argnums=0)(geometry, *(made[one] for one in names)))
            for form in (theirs, ours)
        )
        np.testing.assert_allclose(
            found, wanted, rtol=0, atol=5e-6 * np.abs(wanted).max(), err_msg=ours.__name__
        )


@pytest.mark.parametrize("name", ["even", "odd", "four taps", "stride"])
@pytest.mark.parametrize("turned", [False, True])
def test_gradient_of_a_kernel_in_blocks_is_the_same(name, turned, monkeypatch):
    geometry = GEOMETRIES[name]._replace(turned=turned)
    made = operands(geometry, 40, 41)
    whole = winograd.winograd_kernel_gradient(geometry, made["x"], made["g"])
    monkeypatch.setattr(winograd, "_BLOCK", 60_000)
    text = str(
        jax.make_jaxpr(partial(winograd.winograd_kernel_gradient, geometry))(made["x"], made["g"])
    )
    assert "scan" in text or "while" in text
    np.testing.assert_allclose(
        winograd.winograd_kernel_gradient(geometry, made["x"], made["g"]),
        whole,
        rtol=0,
        atol=5e-6 * np.abs(whole).max(),
    )


@pytest.mark.parametrize(
    ("window", "stride", "times", "share"), [(3, 1, 4, 2e-6), (4, 1, 6, 4e-6), (4, 2, 4, 2e-6)]
)
def test_rounding_is_that_of_a_direct_convolution(window, stride, times, share):
    """Against float64, with 256 channels: no more than so many times what a direct convolution is off."""
    side = (32 + 2 - window) // stride + 1
    geometry = Geometry(
        (32, 32), (side, side), (window, window), (stride, stride), ((1, 1), (1, 1))
    )
    made = {name: np.asarray(array) for name, array in operands(geometry, 256, 32).items()}
    x, kernel = (
        np.pad(made["x"].astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0))),
        made["kernel"].astype(np.float64),
    )
    last = stride * (side - 1) + 1
    exact = sum(
        x[:, u : u + last : stride, v : v + last : stride] @ kernel[u, v]
        for u in range(window)
        for v in range(window)
    )
    errors = [
        np.abs(form(geometry, made["x"], made["kernel"]) - exact).max()
        for form in (winograd.winograd_forward, lax_forward)
    ]
    assert errors[0] < times * errors[1]
    assert errors[0] < share * np.abs(exact).max()


@pytest.mark.parametrize(
    ("taps", "points"),
    [(taps, points) for taps, choices in winograd._POINTS.items() for points in choices],
)
def test_matrices_are_those_of_an_exact_identity(taps, points):
    """For every output, tap and input, A^T [G * B^T] is 1 where the tap of that output meets that input, else 0; flipped, for the opposite order of taps."""
    for flipped in (False, True):
        matrices = winograd._with_points(points, taps, flipped)
        inputs, kernel, outputs = (np.array(matrix) for matrix in matrices)  # of fractions
        found = np.einsum("yn,nt,nd->ytd", outputs, kernel[:, ::-1] if flipped else kernel, inputs)
        wanted = [
            [[int(d == y + t) for d in range(len(inputs))] for t in range(taps)]
            for y in range(matrices.tile)
        ]
        np.testing.assert_array_equal(found, wanted)
        assert matrices.kernel == winograd._with_points(points, taps).kernel


def test_other_kernels_do_not_fit():
    for kernel_size, strides in (
        ((2, 2), (2, 2)),
        ((3, 3), (2, 2)),
        ((3, 1), (1, 1)),
        ((5, 5), (1, 1)),
        ((1, 1), (1, 1)),
    ):
        assert not winograd.fits(Geometry((8, 8), (4, 4), kernel_size, strides, ((1, 1), (1, 1))))


def test_no_values_are_lost_in_large_sums():
    """An image of one large value among small ones: what is far from it stays as exact as it is in a direct convolution, tile by tile."""
    geometry = Geometry((8, 8), (8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)))
    x = jnp.ones((1, 8, 8, 1)).at[0, 0, 0, 0].set(1e6)
    kernel = jnp.ones((3, 3, 1, 1))
    np.testing.assert_allclose(
        winograd.winograd_forward(geometry, x, kernel)[0, 2:7, 2:7, 0], 9.0, rtol=1e-6
    )
