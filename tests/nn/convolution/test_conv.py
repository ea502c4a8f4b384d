"""Convolutions against NumPy and lax: values, derivatives to third order, and the form they take in the compiled program."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan.nn.convolution import conv2d, conv_transpose2d
from jaxgan.nn.layers import Conv, ConvTranspose

pytestmark = pytest.mark.usefixtures("optimised")  # their values are promised as users compile them

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the form on a CPU")
eight_devices = pytest.mark.skipif(len(jax.devices()) < 8, reason="takes eight devices")

# (height, width, inputs, outputs, kernel, strides, padding): every way to compute on CPU occurs, also at the edges of its rule.
PLAIN = [
    (5, 6, 3, 4, (1, 1), (1, 1), ((0, 0), (0, 0))),
    (5, 6, 1, 2, (1, 1), (2, 2), ((0, 0), (0, 0))),
    (7, 6, 2, 5, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (8, 9, 4, 24, (3, 3), (2, 2), ((1, 1), (1, 1))),
    (8, 8, 3, 17, (4, 4), (2, 2), ((1, 1), (1, 1))),
    (9, 7, 5, 2, (4, 4), (2, 2), ((1, 1), (1, 1))),
    (6, 6, 8, 1, (4, 4), (1, 1), ((1, 1), (1, 1))),
    (4, 4, 6, 1, (4, 4), (1, 1), ((0, 0), (0, 0))),
    (9, 9, 12, 3, (7, 7), (1, 1), ((3, 3), (3, 3))),
    (8, 7, 1, 20, (5, 3), (3, 2), ((2, 0), (1, 2))),
    (10, 11, 2, 3, (6, 3), (3, 3), ((0, 2), (1, 0))),
    (7, 7, 1, 1, (2, 2), (3, 3), ((0, 0), (0, 0))),
    (5, 5, 2, 18, (2, 3), (1, 1), ((3, 2), (0, 4))),
    (9, 8, 3, 2, (7, 7), (2, 2), ((3, 3), (3, 3))),
    (2, 3, 36, 40, (4, 4), (2, 2), ((1, 1), (1, 1))),
    (1, 2, 24, 48, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (9, 8, 20, 18, (3, 3), (2, 2), ((1, 1), (1, 1))),
    (8, 10, 18, 5, (5, 3), (2, 2), ((2, 2), (0, 1))),
    (10, 7, 17, 20, (4, 3), (3, 2), ((0, 2), (2, 1))),
    (9, 9, 18, 17, (2, 2), (3, 3), ((0, 0), (0, 0))),
    (8, 6, 128, 20, (4, 4), (2, 2), ((1, 1), (1, 1))),
    (6, 6, 128, 24, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (14, 13, 256, 17, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (9, 8, 20, 14, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (12, 11, 32, 33, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (14, 13, 112, 113, (3, 3), (1, 1), ((0, 0), (0, 0))),
    (46, 48, 64, 168, (4, 4), (2, 2), ((1, 1), (1, 1))),
    (9, 8, 128, 256, (4, 4), (1, 1), ((1, 1), (1, 1))),
]
# The same and output_padding.
TRANSPOSED = [
    (4, 4, 5, 3, (4, 4), (2, 2), ((1, 1), (1, 1)), (0, 0)),
    (3, 5, 24, 20, (4, 4), (2, 2), ((1, 1), (1, 1)), (0, 0)),
    (1, 1, 6, 7, (4, 4), (1, 1), ((0, 0), (0, 0)), (0, 0)),
    (4, 5, 4, 2, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    (3, 4, 2, 1, (5, 5), (2, 2), ((2, 2), (2, 2)), (1, 0)),
    (3, 3, 1, 4, (6, 3), (3, 3), ((1, 2), (0, 1)), (2, 0)),
    (3, 4, 3, 1, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    (5, 5, 7, 19, (3, 3), (1, 1), ((1, 1), (1, 1)), (0, 0)),
    (6, 5, 16, 1, (3, 4), (1, 1), ((2, 0), (3, 1)), (0, 0)),
    (2, 3, 2, 2, (2, 2), (3, 3), ((0, 0), (0, 0)), (2, 1)),
    (1, 2, 40, 36, (4, 4), (2, 2), ((1, 1), (1, 1)), (0, 0)),
    (1, 1, 24, 30, (5, 3), (3, 2), ((0, 2), (1, 0)), (2, 1)),
    (5, 4, 20, 24, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    (4, 5, 20, 130, (4, 4), (2, 2), ((1, 1), (1, 1)), (0, 0)),
    (3, 4, 18, 17, (5, 4), (3, 3), ((2, 1), (1, 0)), (2, 0)),
    (14, 13, 17, 256, (3, 3), (1, 1), ((1, 1), (1, 1)), (0, 0)),
    (12, 11, 113, 112, (3, 3), (1, 1), ((2, 1), (1, 1)), (0, 0)),
    (23, 24, 168, 64, (4, 4), (2, 2), ((1, 1), (1, 1)), (0, 0)),
]
MANY = (conv2d, PLAIN[-3]), (conv_transpose2d, TRANSPOSED[-2])
"""By `jaxgan.nn.convolution.winograd`, the convolution and both gradients."""
FEW = [(conv2d, case) for case in (PLAIN[3], PLAIN[5], PLAIN[8])] + [
    (conv_transpose2d, case) for case in (TRANSPOSED[0], TRANSPOSED[3])
]


def lax_conv(x, kernel, strides, padding):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def lax_transpose(x, kernel, strides, padding, extra=(0, 0)):
    pads = [
        (k - 1 - low, k - 1 - high + e)
        for k, (low, high), e in zip(kernel.shape[:2], padding, extra, strict=True)
    ]
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        pads,
        lhs_dilation=strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def numpy_conv(x, kernel, strides, padding):
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)))
    (kh, kw), (sh, sw) = kernel.shape[:2], strides
    rows, columns = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    y = np.zeros((x.shape[0], rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            y[:, i, j] = np.einsum(
                "buvc,uvco->bo", x[:, i * sh : i * sh + kh, j * sw : j * sw + kw], kernel
            )
    return y


def numpy_transpose(x, kernel, strides, padding, extra=(0, 0)):
    """The definition: every input pixel adds its multiple of the kernel at its place, then padding crops."""
    (kh, kw), (sh, sw), (batch, height, width, _) = kernel.shape[:2], strides, x.shape
    y = np.zeros(
        (
            batch,
            (height - 1) * sh + kh + extra[0],
            (width - 1) * sw + kw + extra[1],
            kernel.shape[3],
        )
    )
    for i in range(height):
        for j in range(width):
            y[:, i * sh : i * sh + kh, j * sw : j * sw + kw] += np.einsum(
                "bc,uvco->buvo", x[:, i, j].astype(np.float64), kernel
            )
    (top, bottom), (left, right) = padding
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]


def arrays(case, batch=2, dtype=np.float32):
    height, width, inputs, outputs, kernel_size = case[:5]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, height, width, inputs)).astype(dtype)
    return x, (
        rng.normal(size=(*kernel_size, inputs, outputs)) / np.sqrt(inputs * np.prod(kernel_size))
    ).astype(dtype)


def close(actual, expected, tolerance=2e-5):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert one.shape == other.shape
        np.testing.assert_allclose(
            one, other, rtol=0, atol=tolerance * max(np.abs(other).max(), 1e-3)
        )


def pair(function: Callable, case) -> tuple[Callable, Callable]:
    """The convolution under test and its reference in lax, both (x, kernel) -> y."""
    reference = lax_conv if function is conv2d else lax_transpose
    return tuple(lambda x, k, f=f: f(x, k, *case[5:]) for f in (function, reference))


def value(conv, x, kernel):
    return jnp.mean(jnp.tanh(conv(x, kernel)) ** 2)


def penalty(conv, x, kernel):
    """Gradient penalty of a small critic: its gradient in the kernel is a second derivative."""
    slopes = jax.grad(lambda x: value(conv, x, kernel))(x)
    return jnp.mean(jnp.sqrt(jnp.sum(slopes**2, (1, 2, 3)) + 1e-6)) * 10


def after_one_step(conv, x, kernel):
    """Meta-objective: a loss after one gradient step on a penalised loss; its gradient holds third derivatives."""
    inner = jax.grad(lambda k: value(conv, x, k) + penalty(conv, x, k))(kernel)
    return value(conv, x, kernel - 0.5 * inner)


CASES = [(conv2d, case) for case in PLAIN] + [(conv_transpose2d, case) for case in TRANSPOSED]


@pytest.mark.parametrize(("function", "case"), CASES)
def test_values_equal_the_definition(function, case):
    x, kernel = arrays(case)
    reference = numpy_conv if function is conv2d else numpy_transpose
    close(jax.jit(pair(function, case)[0])(x, kernel), reference(x, kernel, *case[5:]))


@pytest.mark.parametrize(("function", "case"), CASES)
def test_first_and_second_derivatives_equal_lax(function, case):
    x, kernel = arrays(case)
    ours, theirs = pair(function, case)

    def derivatives(conv):
        return jax.jit(
            lambda x, k: (
                jax.grad(value, (1, 2))(conv, x, k),
                jax.grad(penalty, (1, 2))(conv, x, k),
            )
        )

    close(derivatives(ours)(x, kernel), derivatives(theirs)(x, kernel), 5e-5)


@pytest.mark.parametrize(("function", "case"), [*FEW, *MANY])
def test_third_derivatives_equal_lax(function, case):
    x, kernel = arrays(case)
    ours, theirs = (
        jax.jit(partial(jax.grad(after_one_step, (1, 2)), conv)) for conv in pair(function, case)
    )
    close(ours(x, kernel), theirs(x, kernel), 2e-4)


def test_batch_of_one_and_large_batch():
    """The kernel gradient of a strided convolution is computed differently for batches below and from 4."""
    case = (8, 8, 6, 20, (3, 3), (2, 2), ((1, 1), (1, 1)))
    for batch in (1, 3, 4, 6):
        x, kernel = arrays(case, batch)
        ours, theirs = (
            jax.jit(jax.grad(partial(value, conv), (0, 1))) for conv in pair(conv2d, case)
        )
        close(ours(x, kernel), theirs(x, kernel))


@pytest.mark.parametrize(("function", "case"), FEW[::2])
def test_loops_and_branches_give_the_same_numbers(function, case):
    x, kernel = arrays(case)
    gradient = jax.grad(partial(penalty, pair(function, case)[0]), (0, 1))
    expected = jax.jit(gradient)(x, kernel)

    def scanned(x, kernel):
        return jax.tree.map(
            lambda a: a[-1], lax.scan(lambda c, _: (c, gradient(x, kernel)), 0, None, length=2)[1]
        )

    def branched(x, kernel):
        return lax.cond(
            x[0, 0, 0, 0] < 100, lambda: gradient(x, kernel), lambda: (x * 0, kernel * 0)
        )

    def looped(x, kernel):
        return lax.while_loop(
            lambda c: c[0] < 2, lambda c: (c[0] + 1, gradient(x, kernel)), (0, (x * 0, kernel * 0))
        )[1]

    for form in (scanned, branched, looped, jax.checkpoint(gradient)):
        close(jax.jit(form)(x, kernel), expected, 1e-5)


@pytest.mark.parametrize(("function", "case"), [*FEW[::2], MANY[0]])
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_vmap_equals_a_loop(function, case, axes):
    x, kernel = arrays(case)
    xs = np.stack([x, 0.5 - x]) if axes[0] == 0 else x
    kernels = np.stack([kernel, 0.3 - kernel]) if axes[1] == 0 else kernel
    conv = pair(function, case)[0]

    def everything(x, kernel):
        return conv(x, kernel), jax.grad(partial(penalty, conv), (0, 1))(x, kernel)

    mapped = jax.jit(jax.vmap(everything, axes))(xs, kernels)
    single = jax.jit(everything)
    for i in range(2):
        expected = single(xs[i] if axes[0] == 0 else x, kernels[i] if axes[1] == 0 else kernel)
        close(jax.tree.map(lambda a, i=i: a[i], mapped), expected, 1e-5)


def test_vmap_over_seeds_and_examples_nests():
    """Per-example gradients of a critic for each of two seeds."""
    case = PLAIN[8]
    x, kernel = arrays(case)
    kernels = np.stack([kernel, -2 * kernel])
    slopes = [
        jax.grad(lambda x, k=k: jnp.sum(jnp.tanh(lax_conv(x, k, *case[5:]))))(x) for k in kernels
    ]

    def per_example(image, kernel):
        return jax.grad(lambda image: jnp.sum(jnp.tanh(conv2d(image[None], kernel, *case[5:]))))(
            image
        )

    mapped = jax.vmap(lambda k: jax.vmap(per_example, (0, None))(x, k))(kernels)
    close(mapped, np.stack(slopes))


@eight_devices
@pytest.mark.parametrize(("function", "case"), FEW[1::2])
@pytest.mark.parametrize("objective", [value, penalty])
def test_shard_map_with_checked_types(function, case, objective):
    """A replicated kernel, sharded images: types are accepted and the gradient is that of the global mean."""
    x, kernel = arrays(case, batch=8)
    conv = pair(function, case)[0]
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))

    def per_device(x, kernel):
        return jax.grad(lambda k: lax.pmean(objective(conv, x, k), "data"))(kernel)

    sharded = jax.jit(
        jax.shard_map(
            per_device, mesh=mesh, in_specs=(P("data"), P()), out_specs=P(), check_vma=True
        )
    )
    expected = jax.jit(
        jax.grad(lambda k: jnp.mean(lax.map(lambda one: objective(conv, one[None], k), x)))
    )(kernel)
    close(sharded(x, kernel), expected)


@eight_devices
def test_pmap_and_sharded_jit_equal_one_device():
    case = PLAIN[5]
    x, kernel = arrays(case, batch=8)
    gradient = jax.grad(partial(value, pair(conv2d, case)[0]), 1)
    expected = gradient(x, kernel)
    parallel = jax.pmap(
        lambda x, k: lax.pmean(gradient(x, k), "data"), "data", in_axes=(0, None), out_axes=None
    )
    close(parallel(x[:, None], kernel), expected)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    placed = jax.device_put(x, NamedSharding(mesh, P("data")))
    close(jax.jit(gradient)(placed, kernel), expected)


@eight_devices
@pytest.mark.parametrize(("function", "case"), [FEW[0], FEW[3]])
def test_mesh_with_explicit_axes(function, case):
    """`jax.make_mesh` gives Explicit axes by default: images sharded by type must be accepted."""
    x, kernel = arrays(case, batch=8)
    gradient = jax.jit(jax.grad(partial(value, pair(function, case)[0]), 1))
    expected = gradient(x, kernel)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        close(
            gradient(jax.device_put(x, NamedSharding(mesh, P("data"))), jnp.asarray(kernel)),
            expected,
        )


@pytest.mark.parametrize(("function", "case"), FEW[::2])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(function, case, dtype):
    """Results have the dtype of the arguments and differ from float32 by its rounding only."""
    x, kernel = (jnp.asarray(a, dtype) for a in arrays(case, batch=4))
    conv, theirs = pair(function, case)
    y = conv(x, kernel)
    assert y.dtype == dtype
    close(y.astype(jnp.float32), theirs(x.astype(jnp.float32), kernel.astype(jnp.float32)), 2.0**-8)
    gradients = jax.jit(
        jax.grad(lambda x, k: jnp.sum(jnp.sin(conv(x, k)).astype(jnp.float32)), (0, 1))
    )(x, kernel)
    expected = jax.grad(lambda x, k: jnp.sum(jnp.sin(theirs(x, k))), (0, 1))(
        x.astype(jnp.float32), kernel.astype(jnp.float32)
    )
    assert all(g.dtype == dtype for g in gradients)
    close([g.astype(jnp.float32) for g in gradients], expected, 0.03)


@on_cpu
@pytest.mark.parametrize(("function", "case"), MANY)
def test_many_channels_multiply_less(function, case):
    """The guard is on the compiled program: 16 products instead of 36 for each channel of a tile, and little more; the transformed kernel is shared."""
    x, kernel = arrays(case)
    ours, theirs = pair(function, case)
    counts = []
    for conv in (ours, theirs):
        compiled = (
            jax.jit(jax.grad(lambda x, k, conv=conv: jnp.sum(conv(x, k) ** 2), (0, 1)))
            .lower(x, kernel)
            .compile()
        )
        counts.append(compiled.cost_analysis()["flops"])
    assert counts[0] < 0.75 * counts[1]


@pytest.mark.parametrize(("function", "case"), [*MANY, (conv2d, PLAIN[-1])])
def test_any_number_of_images_in_an_exported_program(function, case):
    """The form is chosen without knowing how many there are; two or five give what they give here."""
    conv = jax.jit(pair(function, case)[0])
    (count,) = jax.export.symbolic_shape("count")
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays(case)]
    program = jax.export.export(conv, platforms=("cpu",))(
        jax.ShapeDtypeStruct((count, *shapes[0].shape[1:]), shapes[0].dtype), shapes[1]
    )
    for batch in (2, 5):
        x, kernel = arrays(case, batch)
        close(program.call(x, kernel), conv(x, kernel))


GUARDED = [
    (conv2d, (16, 16, 24, 32, (3, 3), (1, 1), ((1, 1), (1, 1)))),
    (conv2d, (16, 16, 24, 32, (4, 4), (2, 2), ((1, 1), (1, 1)))),
    (conv2d, (16, 16, 24, 32, (3, 3), (2, 2), ((1, 1), (1, 1)))),
    (conv2d, (16, 16, 24, 1, (4, 4), (1, 1), ((1, 1), (1, 1)))),
    (conv_transpose2d, (8, 8, 32, 24, (4, 4), (2, 2), ((1, 1), (1, 1)))),
    (conv_transpose2d, (8, 8, 32, 24, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))),
]


@on_cpu
@pytest.mark.parametrize(("function", "case"), GUARDED)
def test_compiled_program_holds_only_the_fast_form(function, case):
    """The speed trap on CPU: in a loop's body only convolutions NHWC x HWIO without groups are fast.

    The guard is on the compiled program, not on a clock: gradients of first and second order, in a scan, also under vmap over kernels.
    """
    x, kernel = arrays(case)

    def in_scan(conv, x, kernel):
        step = jax.grad(lambda k: value(conv, x, k) + penalty(conv, x, k))
        return lax.scan(lambda k, _: (k - step(k), 0.0), kernel, None, length=3)[0]

    def slow(conv, mapped=False):
        form = partial(in_scan, conv)
        program = jax.jit(jax.vmap(form, (None, 0)) if mapped else form)
        text = (
            program.lower(x, np.stack([kernel, kernel]) if mapped else kernel).compile().as_text()
        )
        lines = [line for line in text.splitlines() if re.search(r" convolution\(", line)]
        bad = [
            line
            for line in lines
            if "dim_labels=b01f_01io->b01f" not in line or "feature_group_count" in line
        ]
        return len(bad)

    ours, theirs = pair(function, case)
    assert slow(ours) == 0
    assert slow(ours, mapped=True) == 0
    assert slow(theirs) > 0  # else the guard no longer sees what it guards against


LARGE_KERNELS = [
    (conv2d, (4, 4, 64, 96, (4, 4), (2, 2), ((1, 1), (1, 1)))),
    (conv2d, (4, 4, 64, 96, (3, 3), (1, 1), ((1, 1), (1, 1)))),
    (conv_transpose2d, (2, 2, 96, 64, (4, 4), (2, 2), ((1, 1), (1, 1)))),
]


@on_cpu
@pytest.mark.parametrize(("function", "case"), LARGE_KERNELS)
def test_large_kernels_of_few_pixels_are_not_laid_out_anew(function, case):
    """In the middle of a U-Net a turned or copied kernel costs more than all arithmetic: value and both gradients read it and write its gradient as it is."""
    x, kernel = arrays(case, batch=1)
    images, weights = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, kernel))

    def moved(conv):
        def step(x, kernel, g):
            y, pull_back = jax.vjp(conv, x, kernel)
            slope, gradient = pull_back(g)
            return y, slope, kernel - 0.1 * gradient

        y = jax.eval_shape(conv, images, weights)
        text = (
            jax.jit(step)
            .lower(images, weights, jax.ShapeDtypeStruct(y.shape, y.dtype))
            .compile()
            .as_text()
        )
        lines = [
            line
            for line in text.splitlines()
            if (
                shape := re.search(
                    r"= f32\[([\d,]+)\]\S* (reverse|concatenate|convolution|transpose)\(", line
                )
            )
            and np.prod([int(n) for n in shape[1].split(",")]) == kernel.size
        ]
        return sum(
            not re.search(r"transpose\(.*dimensions=\{(1,0,2|0,1,2,3|0,1,2)\}", line)
            for line in lines
        )  # rows of blocks may change places

    ours, theirs = pair(function, case)
    assert moved(ours) == 0
    assert moved(theirs) > 0  # else the guard no longer sees what it guards against
    gradients = [
        jax.jit(jax.grad(partial(value, conv), (0, 1)))(x, kernel) for conv in (ours, theirs)
    ]
    close(*gradients)


def test_export_for_two_platforms():
    pytest.importorskip("flatbuffers")
    from jax import export

    case = PLAIN[8]
    x, kernel = arrays(case)
    function = jax.jit(jax.grad(partial(value, pair(conv2d, case)[0]), 1))
    exported = export.export(function, platforms=("cpu", "cuda"))(x, kernel)
    close(export.deserialize(exported.serialize()).call(x, kernel), function(x, kernel))


@pytest.mark.parametrize("platform", ["cuda", "default"])
@pytest.mark.parametrize("transposed", [False, True])
def test_accelerators_branches_equal_lax(transposed, platform, monkeypatch):
    """What other platforms would run, run here."""
    monkeypatch.setattr(
        lax, "platform_dependent", lambda *args, **functions: functions[platform](*args)
    )
    function, cases = (conv_transpose2d, TRANSPOSED) if transposed else (conv2d, PLAIN)
    for case in cases[:: 3 if platform == "default" else 1]:
        x, kernel = arrays(case)
        ours, theirs = (
            jax.jit(jax.grad(partial(penalty, conv), (0, 1))) for conv in pair(function, case)
        )
        close(ours(x, kernel), theirs(x, kernel), 5e-5)


def test_modules_hold_float32_parameters_and_compute_in_dtype():
    x = arrays((6, 5, 3, 1, (1, 1)))[0]
    for layer, apply in (
        (Conv(8, 3, 2, 1), partial(conv2d, strides=(2, 2), padding=((1, 1), (1, 1)))),
        (
            ConvTranspose(8, (4, 3), 2, ((1, 2), (0, 1))),
            partial(conv_transpose2d, strides=2, padding=((1, 2), (0, 1))),
        ),
    ):
        params = layer.init(jax.random.key(0), x)["params"]
        assert {k: (v.shape, v.dtype) for k, v in params.items()} == {
            "kernel": ((3 if isinstance(layer, Conv) else 4, 3, 3, 8), jnp.float32),
            "bias": ((8,), jnp.float32),
        }
        assert not np.any(params["bias"])
        params = params | {"bias": jnp.ones(8)}
        close(layer.apply({"params": params}, x), apply(x, params["kernel"]) + 1)
        half = layer.clone(dtype=jnp.bfloat16).apply({"params": params}, x)
        assert half.dtype == jnp.bfloat16
        assert "bias" not in layer.clone(use_bias=False).init(jax.random.key(0), x)["params"]


def test_no_images_is_allowed():
    x, kernel = jnp.zeros((0, 5, 5, 3)), jnp.ones((3, 3, 3, 2))
    assert conv2d(x, kernel).shape == (0, 3, 3, 2)
    assert jax.vmap(conv2d, (0, None))(jnp.zeros((4, 0, 5, 5, 3)), kernel).shape == (4, 0, 3, 3, 2)
    np.testing.assert_array_equal(
        jax.grad(lambda k: jnp.sum(conv2d(x, k)))(kernel), jnp.zeros_like(kernel)
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conv2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 5))), "kernel"),
        (lambda: conv2d(jnp.zeros((4, 4, 3)), jnp.zeros((3, 3, 3, 5))), "shapes"),
        (lambda: conv2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((5, 5, 3, 5))), "does not fit"),
        (lambda: conv2d(jnp.zeros((1, 4, 4, 3), jnp.bfloat16), jnp.zeros((3, 3, 3, 5))), "dtype"),
        (lambda: conv2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 5)), 0), "strides"),
        (lambda: conv2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 5)), 1, -1), "padding"),
        (
            lambda: conv_transpose2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 5)), 2, 1, 2),
            "output_padding",
        ),
        (lambda: conv_transpose2d(jnp.zeros((1, 1, 1, 3)), jnp.zeros((3, 3, 3, 5)), 1, 2), "crops"),
    ],
)
def test_what_does_not_fit_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@on_cpu
def test_a_large_convolution_without_padding():
    """It is computed with a column too many; values and both gradients are lax's, which a column in the wrong place would change."""
    random = np.random.default_rng(0)
    x, kernel = (
        random.normal(size=(2, 70, 68, 32)).astype(np.float32),
        random.normal(size=(3, 3, 32, 17)).astype(np.float32),
    )
    assert x.size * 9 * 4 > 8 << 20
    text = jax.jit(conv2d).lower(x, kernel).as_text()
    assert "pad = [[0, 0], [0, 1]]" in text
    g = random.normal(size=(2, 68, 66, 17)).astype(np.float32)

    def both(function):
        value, pull_back = jax.vjp(function, x, kernel)
        return value, *pull_back(g)

    expected = both(lambda x, kernel: lax_conv(x, kernel, (1, 1), ((0, 0), (0, 0))))
    for ours, theirs in zip(both(conv2d), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())
