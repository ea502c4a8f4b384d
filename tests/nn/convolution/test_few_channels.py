"""Convolutions of few channels as GPUs compute them: equal to lax in values and gradients, and with channels in eights."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.convolution import few_channels, lax_forms
from jaxgan.nn.convolution.geometry import Geometry

OPERATIONS = ("forward", "input_gradient", "kernel_gradient")


def operands(operation, geometry, inputs, outputs, dtype=jnp.float32):
    held = (outputs, inputs) if geometry.turned else (inputs, outputs)
    shapes = {
        "x": (2, *geometry.input_size, inputs),
        "g": (2, *geometry.output_size, outputs),
        "kernel": (*geometry.kernel_size, *held),
    }
    names = {
        "forward": ("x", "kernel"),
        "input_gradient": ("g", "kernel"),
        "kernel_gradient": ("x", "g"),
    }[operation]
    return [
        jax.random.normal(jax.random.key(i), shapes[name], dtype) for i, name in enumerate(names)
    ]


def geometry_of(size, window, strides, pads, turned=False):
    output = tuple((n + sum(pad) - k) // s + 1 for n, k, s, pad in zip(size, window, strides, pads))
    return Geometry(size, output, window, strides, pads, turned)


GEOMETRIES = {
    "4x4, stride": geometry_of((12, 8), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "4x4, stride, transposed": geometry_of((12, 8), (4, 4), (2, 2), ((1, 1), (1, 1)), True),
    "4x4": geometry_of((7, 9), (4, 4), (1, 1), ((1, 1), (1, 1))),
    "7x7, unpadded": geometry_of((9, 15), (7, 7), (1, 1), ((0, 0), (0, 0))),
    "5x3, columns left over, padding unequal": geometry_of(
        (11, 10), (5, 3), (3, 2), ((2, 0), (1, 2))
    ),
    "3x2, columns skipped": geometry_of((9, 11), (3, 2), (2, 3), ((0, 0), (0, 0)), True),
    "3x6, padded more": geometry_of((6, 15), (3, 6), (1, 3), ((1, 1), (4, 5))),
}


@pytest.mark.parametrize("channels", [(3, 8), (6, 11), (8, 1), (12, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_equal_to_lax(name, operation, channels):
    geometry = GEOMETRIES[name]
    assert few_channels.fits(geometry, min(channels), max(channels))
    given = operands(operation, geometry, *channels)
    ours, plain = (
        getattr(module, f"{form}_{operation}")
        for module, form in ((few_channels, "gpu"), (lax_forms, "lax"))
    )
    wanted = np.asarray(plain(geometry, *given))
    found = jax.jit(ours, static_argnums=0)(geometry, *given)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("channels", [(3, 8), (8, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_rounding_in_16_bits(operation, channels):
    """As near to float32 as a plain convolution in bfloat16, but for the rounding of each column."""
    geometry = GEOMETRIES["7x7, unpadded"]
    given = operands(operation, geometry, *channels, jnp.bfloat16)
    exact = np.asarray(
        getattr(lax_forms, f"lax_{operation}")(
            geometry, *(each.astype(jnp.float32) for each in given)
        )
    )
    found = getattr(few_channels, f"gpu_{operation}")(geometry, *given)
    assert found.dtype == jnp.bfloat16
    assert np.abs(np.asarray(found, np.float32) - exact).max() < 2**-7 * np.abs(exact).max()


@pytest.mark.parametrize("channels", [(3, 64), (6, 64), (512, 1), (64, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_convolved_has_channels_in_eights_and_one_column(operation, channels):
    geometry = GEOMETRIES["4x4"]
    traced = jax.make_jaxpr(partial(getattr(few_channels, f"gpu_{operation}"), geometry))(
        *operands(operation, geometry, *channels)
    )
    (convolution,) = [
        equation for equation in traced.eqns if equation.primitive.name == "conv_general_dilated"
    ]
    first, second, result = (
        variable.aval.shape for variable in (*convolution.invars, *convolution.outvars)
    )
    kernel, images = (
        (result, (first, second)) if operation == "kernel_gradient" else (second, (first, result))
    )
    assert kernel[1] == 1
    assert all(channels % 8 == 0 for channels in (*kernel[2:], *(image[3] for image in images)))


@pytest.mark.parametrize(
    ("window", "channels"),
    [((4, 4), (8, 64)), ((4, 4), (3, 7)), ((4, 1), (3, 64)), ((1, 1), (64, 3)), ((4, 9), (512, 1))],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_others_are_left_to_lax(operation, window, channels):
    geometry = geometry_of((7, 9), window, (1, 1), ((1, 1), (0, 0)))
    given = operands(operation, geometry, *channels)
    forms = (getattr(few_channels, f"gpu_{operation}"), getattr(lax_forms, f"lax_{operation}"))
    ours, plain = (str(jax.make_jaxpr(partial(form, geometry))(*given)) for form in forms)
    assert ours == plain


@pytest.mark.parametrize("channels", [(3, 8), (8, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_kernels_and_images_of_several_seeds(operation, channels):
    geometry = GEOMETRIES["4x4, stride"]
    function = partial(getattr(few_channels, f"gpu_{operation}"), geometry)
    first, second = (
        jnp.stack([each, 2 - each]) for each in operands(operation, geometry, *channels)
    )
    wanted = np.stack([function(*pair) for pair in zip(first, second)])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(function))(first, second), wanted, rtol=0, atol=4e-6 * np.abs(wanted).max()
    )
