"""Every form that is timed computes the same, and a step's convolutions are found as often as it has them."""

from __future__ import annotations

from collections import Counter

import jax
import numpy as np
import pytest

from benchmarks import conv_candidates, record, tables
from benchmarks.conv_candidates import Operation, forms_for
from jaxgan import dcgan
from jaxgan.nn.convolution.geometry import Geometry

GEOMETRIES = {
    "dense": Geometry((9, 8), (9, 8), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "dense, unpadded": Geometry((9, 8), (6, 5), (4, 4), (1, 1), ((0, 0), (0, 0))),
    "strided": Geometry((12, 8), (6, 4), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "strided, odd": Geometry((12, 8), (6, 4), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "strided, unpadded": Geometry((11, 9), (5, 4), (3, 3), (2, 2), ((0, 0), (0, 0))),
    "strided, transposed": Geometry((12, 8), (6, 4), (4, 4), (2, 2), ((1, 1), (1, 1)), turned=True),
}


def operations(geometry: Geometry, outputs: int = 8) -> list[Operation]:
    x, g = (2, *geometry.input_size, 3), (2, *geometry.output_size, outputs)
    kernel = (*geometry.kernel_size, *((outputs, 3) if geometry.turned else (3, outputs)))
    return [
        Operation("forward", geometry, (x, kernel)),
        Operation("input gradient", geometry, (g, kernel)),
        Operation("kernel gradient", geometry, (x, g)),
    ]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_all_forms_agree(name):
    for operation in operations(GEOMETRIES[name]):
        first, second = (
            jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(operation.shapes)
        )
        forms = forms_for(operation)
        wanted = forms["lax"](operation.geometry, first, second)
        for form, function in forms.items():
            np.testing.assert_allclose(
                function(operation.geometry, first, second),
                wanted,
                rtol=1e-4,
                atol=1e-4,
                err_msg=f"{operation.kind}, {form}",
            )


def test_each_form_is_met():
    met = {
        (operation.kind, form)
        for geometry in GEOMETRIES.values()
        for operation in operations(geometry)
        for form in forms_for(operation)
    }
    assert met == {(kind, form) for kind, forms in conv_candidates.FORMS.items() for form in forms}


def test_operations_of_a_step():
    found = conv_candidates.operations_of(dcgan, dcgan.Config((16, 16)), 4)
    kinds: Counter[str] = Counter()
    for operation, count in found.items():
        kinds[operation.kind] += count
    # The generator has 3 layers, the discriminator too. Forward: the generator once, its images judged twice, real ones once. A transposed convolution is an
    # input gradient; its own gradients are a convolution and a kernel gradient. Images of the discriminator's own turn need no gradient.
    assert kinds == {
        "forward": 3 * 3 + 2,
        "input gradient": 3 + 2 * 2 + 3,
        "kernel gradient": 2 * 3 + 3,
    }
    assert all(operation.shapes[0][0] == 4 for operation in found)


def test_a_measurement_is_whole(tmp_path):
    operation = operations(GEOMETRIES["strided"])[2]
    assert operation.flops == 2 * 2 * 24 * 16 * 24
    assert operation.what == "4x4/2 2x12x8x3 > 6x4x8"
    line = conv_candidates.measure(operation, 3, 2)
    assert set(line["others_ms"]) == set(forms_for(operation)) - {"jaxgan"}
    assert line["best_other"] == pytest.approx(min(line["others_ms"].values()) / line["ms"])
    assert line["flops_per_s"] == pytest.approx(1e3 * operation.flops / line["ms"])
    assert "4x4/2 2x12x8x3" in conv_candidates.row(line)
    record.append(
        "conv_candidates",
        {"name": "game", **line, "share": 0.5},
        record.provenance(batch=2),
        tmp_path,
    )
    assert "| game | kernel gradient | 4x4/2 2x12x8x3 > 6x4x8 | 3 |" in tables.page(tmp_path)


@pytest.mark.parametrize(("outputs", "form"), [(7, "lax"), (8, "columns")])
def test_on_a_gpu_few_channels_have_a_form_and_the_plain_one_is_jaxgans_otherwise(
    outputs, form, monkeypatch
):
    (forward, *_) = operations(GEOMETRIES["dense"], outputs)
    on_cpu = forms_for(forward)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    forms = forms_for(forward)
    assert (forms["jaxgan"], forms["for a CPU"]) == (on_cpu[form], on_cpu["jaxgan"])
    assert set(forms) == set(on_cpu) - {form} | {"for a CPU"}
