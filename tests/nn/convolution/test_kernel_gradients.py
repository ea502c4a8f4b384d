"""Every form of the gradient of a kernel against lax, whatever would be chosen, and which one is chosen."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxgan.nn.convolution import kernel_gradients, lax_forms
from jaxgan.nn.convolution.geometry import Geometry

GEOMETRIES = {
    "3x3": Geometry((8, 10), (8, 10), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "3x3, odd": Geometry((9, 7), (9, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "3x3, unpadded": Geometry((9, 8), (7, 6), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "4x3, padded more": Geometry((6, 5), (7, 7), (4, 3), (1, 1), ((3, 1), (2, 2))),
    "7x7": Geometry((9, 8), (9, 8), (7, 7), (1, 1), ((3, 3), (3, 3))),
    "1x1": Geometry((5, 6), (5, 6), (1, 1), (1, 1), ((0, 0), (0, 0))),
    "1x1, stride": Geometry((5, 6), (3, 3), (1, 1), (2, 2), ((0, 0), (0, 0))),
    "4x4, stride": Geometry((12, 8), (6, 4), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "4x4, stride, odd": Geometry((13, 9), (6, 4), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "4x4, stride, odd rows": Geometry((9, 13), (4, 5), (4, 4), (2, 2), ((0, 0), (0, 0))),
    "4x4, stride, padded more": Geometry((12, 8), (7, 6), (4, 4), (2, 2), ((2, 2), (3, 3))),
    "3x6, stride (1, 3)": Geometry((6, 11), (6, 4), (3, 6), (1, 3), ((1, 1), (2, 2))),
    "5x5, stride": Geometry((9, 10), (5, 5), (5, 5), (2, 2), ((2, 2), (2, 2))),
}
FORMS = {
    "crossed": kernel_gradients._kernel_gradient_crossed,
    "few": kernel_gradients._kernel_gradient_few,
    "gathered": kernel_gradients._kernel_gradient_gathered,
    "rows": kernel_gradients._kernel_gradient_rows,
    "taps": kernel_gradients._kernel_gradient_taps,
    "convolution": kernel_gradients._kernel_gradient_convolution,
    "chosen": kernel_gradients.cpu_kernel_gradient,
}


def can(form: str, geometry: Geometry) -> bool:
    if form == "few":
        return geometry.strides == (1, 1)
    return form != "crossed" or geometry.kernel_size[1] % geometry.strides[1] == 0


@pytest.mark.parametrize("channels", [(5, 3), (3, 5)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_form_equals_lax(name, turned, channels):
    geometry = GEOMETRIES[name]._replace(turned=turned)
    x = jax.random.normal(jax.random.key(0), (3, *geometry.input_size, channels[0]))
    g = jax.random.normal(jax.random.key(1), (3, *geometry.output_size, channels[1]))
    wanted = np.asarray(lax_forms.lax_kernel_gradient(geometry, x, g))
    for form in FORMS:
        if can(form, geometry):
            found = jax.jit(FORMS[form], static_argnums=0)(geometry, x, g)
            np.testing.assert_allclose(
                found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max(), err_msg=form
            )


@pytest.mark.parametrize(
    ("batch", "size", "channels", "window", "stride", "form"),
    [
        (1, 64, (32, 32), 3, 1, "_kernel_gradient_crossed"),
        (1, 64, (3, 64), 4, 2, "_kernel_gradient_crossed"),
        (1, 64, (64, 3), 7, 1, "_kernel_gradient_few"),
        (1, 64, (128, 128), 3, 1, "winograd_kernel_gradient"),
        (1, 8, (32, 32), 3, 1, "_kernel_gradient_convolution"),
        (1, 2, (512, 512), 4, 2, "_kernel_gradient_taps"),
        (4, 65, (64, 128), 3, 2, "_kernel_gradient_rows"),
        (4, 65, (256, 512), 3, 2, "_kernel_gradient_taps"),
    ],
)
def test_the_measured_form_is_chosen(batch, size, channels, window, stride, form, monkeypatch):
    called = []
    for name in (
        *(f"_kernel_gradient_{each}" for each in ("crossed", "few", "rows", "taps", "convolution")),
        "winograd_kernel_gradient",
    ):
        monkeypatch.setattr(
            kernel_gradients, name, lambda geometry, x, g, name=name: called.append(name)
        )
    pads, output = ((window - stride) // 2,) * 2, size // stride
    geometry = Geometry(
        (size, size), (output, output), (window, window), (stride, stride), (pads, pads)
    )
    kernel_gradients.cpu_kernel_gradient(
        geometry,
        jax.numpy.zeros((batch, size, size, channels[0])),
        jax.numpy.zeros((batch, output, output, channels[1])),
    )
    assert called == [form]
