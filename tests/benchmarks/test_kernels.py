"""What is told of a program's kernels is what the program computes, and when it ran."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import kernels, record, step_profile, tables
from benchmarks.against_pytorch import Case
from benchmarks.kernels import Interval, Product
from jaxgan.nn.convolution import SCOPE, conv2d


@pytest.fixture(scope="module")
def compiled():
    """A convolution with stride 2, then a matrix product, then a sine, of which the loop makes three."""

    def function(x, kernel, matrix):
        y = lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        z = y.reshape(-1, 8) @ matrix
        return lax.fori_loop(0, 3, lambda _, value: jnp.sin(value) @ jnp.ones((16, 16)), z)

    shapes = [jnp.ones(shape) for shape in ((2, 16, 16, 4), (3, 3, 4, 8), (8, 16))]
    return jax.jit(function).lower(*shapes).compile(), shapes


def test_products_are_named_and_counted(compiled):
    names, found = kernels.products(compiled[0].as_text())
    assert set(found) < names
    told = sorted(found.values())
    assert [one.flops for one in told] == [
        2 * 2 * 8 * 8 * 8 * 9 * 4,
        2 * 128 * 16 * 16,
        2 * 128 * 8 * 16,
    ]
    assert told[0].what == "conv 3x3/2 2x16x16x4 > 2x8x8x8"
    assert [one.what.split(" > ")[1] for one in told[1:]] == ["128x16", "128x16"]


def test_what_a_convolution_is_made_of_is_found():
    x, kernel = jnp.ones((2, 14, 13, 112)), jnp.ones((3, 3, 112, 113))
    program = (
        jax.jit(lambda x, kernel: jnp.sin(conv2d(x, kernel)) + 1)
        .lower(x, kernel)
        .compile()
        .as_text()
    )
    names, found = kernels.products(program)
    inside = kernels.scoped(program, SCOPE) & names
    assert set(found) < inside < names  # Winograd's transforms are inside, the sine is not


def test_executions_are_seen_and_last(compiled):
    program, arguments = compiled
    names, found = kernels.products(program.as_text())
    intervals, seconds = kernels.kernel_times(lambda: program(*arguments), names)
    runs = {
        what: sum(found[one.name] == what for one in intervals if one.name in found)
        for what in set(found.values())
    }
    assert sorted(runs.values()) == [1, 1, 3]
    assert all(one.begin <= one.end for one in intervals)
    assert 0 < kernels.covered(intervals) <= 1e9 * seconds


def test_what_overlaps_is_counted_once():
    intervals = [
        Interval("a", 10, 20),
        Interval("b", 0, 5),
        Interval("c", 12, 14),
        Interval("d", 18, 30),
    ]
    assert kernels.covered(intervals) == 5 + 20
    assert kernels.covered([]) == 0


def test_shares_of_a_step_and_rates_of_its_kernels():
    products = {
        "conv.1": Product("conv", 1_000),
        "conv.2": Product("conv", 1_000),
        "dot": Product("product", 600),
    }
    usual = [Interval("conv.1", 0, 10), Interval("conv.2", 10, 30), Interval("add.3.clone", 25, 50)]
    lazy = [*usual, Interval("dot", 50, 90)]
    seen = [(0.75, usual), (0.25, lazy)]
    told = step_profile.summary(seen, products, {"add.3.clone"}, 100e-9)
    assert told["product_share"] == pytest.approx(0.75 * 0.3 + 0.25 * 0.7)
    assert told["convolution_share"] == told["busy_share"] == pytest.approx(0.75 * 0.5 + 0.25 * 0.9)
    assert told["others_ms"] == {"add": 0.0}
    first, second = step_profile.by_kind(seen, products)
    assert (first["kernel"], first["count"], first["ms"], first["flops_per_s"]) == (
        "conv",
        2,
        pytest.approx(30e-6),
        pytest.approx(2_000 / 30e-9),
    )
    assert (second["count"], second["ms"], second["flops_per_s"]) == (
        0.25,
        pytest.approx(10e-6),
        pytest.approx(600 / 40e-9),
    )


def test_a_whole_step_is_profiled(tmp_path):
    told, lines, where = step_profile.profile(Case("cgan", 28, 4), repetitions=1)
    assert told["ms"] > 0
    assert 0 < told["product_share"] <= told["convolution_share"] <= told["busy_share"] < 1
    assert any(
        "4x784" in line["kernel"] for line in lines
    )  # four images of 28x28, as the MLPs see them
    assert "cgan-28-batch-4" in step_profile.table(told, lines)
    record.append("step_profile", told, where, tmp_path)
    record.append("step_kernels", lines[0], where, tmp_path)
    page = tables.page(tmp_path)
    assert f"| {lines[0]['kernel']} |" in page
