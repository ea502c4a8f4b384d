"""Convolutions of images with few different pixels, which a CPU looks up: equal to those of the images themselves, under every mapping."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan.nn.convolution import Symbols, conv2d, conv2d_of_symbols


def example(
    batch: int = 2,
    size: tuple[int, int] = (6, 5),
    kinds: int = 4,
    inputs: int = 3,
    outputs: int = 7,
    kernel: tuple[int, int] = (3, 3),
):
    """(images, kernel, their symbols), with vectors that are not one-hot."""
    random = np.random.default_rng(0)
    symbols = Symbols(
        jnp.asarray(random.integers(0, kinds, (batch, *size)), jnp.int32),
        jnp.asarray(random.normal(size=(kinds, inputs)), jnp.float32),
    )
    return (
        symbols.vectors[symbols.numbers],
        jnp.asarray(random.normal(size=(*kernel, inputs, outputs)), jnp.float32),
        symbols,
    )


def no_bias(kernel):
    return (kernel, jnp.zeros(kernel.shape[-1], kernel.dtype))


def close(found, wanted, share: float = 3e-6):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=share * max(np.abs(wanted).max(), 1e-30))


def slope(x, kernel, symbols=None):
    """Of something that is not linear, in the kernel and in the images."""
    conv = (
        (lambda x, k: conv2d(x, k, 1, 1))
        if symbols is None
        else (lambda x, k: conv2d_of_symbols(x, [no_bias(k)], symbols, 1, 1)[0])
    )
    return jax.grad(lambda x, k: jnp.mean(jnp.sin(conv(x, k))), (0, 1))(x, kernel)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kinds=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    pads=st.tuples(
        st.tuples(st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.integers(1, 3), st.integers(1, 2)),
    ),
)
def test_values_are_those_of_the_images(batch, size, kinds, kernel, strides, pads):
    x, weights, symbols = example(batch, size, kinds, kernel=kernel)
    (found,) = conv2d_of_symbols(x, [no_bias(weights)], symbols, strides, pads)
    close(found, conv2d(x, weights, strides, pads))


def test_several_layers():
    """Of different widths: each as alone, and the gradients of all kernels and biases, made together."""
    x, kernel, symbols = example(size=(7, 6))
    layers = [
        (part, jnp.arange(1.0, 1 + part.shape[-1]))
        for part in (kernel, -2 * kernel[..., :1], kernel[..., 2:4])
    ]

    def summed(convolve):
        return lambda layers: sum(
            jnp.sum(jnp.sin(0.1 * (i + 1) * y)) for i, y in enumerate(convolve(layers))
        )

    def alone(layers):
        return [conv2d(x, kernel, 2, 1) + bias[None, None, None] for kernel, bias in layers]

    def together(layers):
        return conv2d_of_symbols(x, layers, symbols, 2, 1)

    for found, wanted in zip(together(layers), alone(layers), strict=True):
        close(found, wanted)
    jax.tree.map(close, *(jax.grad(summed(convolve))(layers) for convolve in (together, alone)))


def test_derivatives_are_those_of_the_images():
    x, kernel, symbols = example()
    for found, wanted in zip(slope(x, kernel, symbols), slope(x, kernel), strict=True):
        close(found, wanted)
    second = jax.grad(lambda k: jnp.sum(slope(x, k, symbols)[0] ** 2))(kernel)
    expected = jax.grad(lambda k: jnp.sum(slope(x, k, None)[0] ** 2))(kernel)
    close(second, expected)


def test_mapped_over_examples_and_kernels():
    x, kernel, symbols = example(batch=4)
    kernels = jnp.stack([kernel, -2 * kernel])
    found = jax.vmap(
        lambda k: jax.vmap(lambda x, n: slope(x[None], k, Symbols(n[None], symbols.vectors))[1])(
            x, symbols.numbers
        )
    )(kernels)
    close(found, [[slope(one[None], k)[1] for one in x] for k in kernels])


def test_shard_map_with_checked_types():
    x, kernel, symbols = example(batch=8)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))

    def per_device(x, kernel, numbers):
        return jax.grad(
            lambda k: lax.pmean(
                jnp.mean(
                    jnp.sin(
                        conv2d_of_symbols(x, [no_bias(k)], Symbols(numbers, symbols.vectors), 1, 1)[
                            0
                        ]
                    )
                ),
                "data",
            )
        )(kernel)

    sharded = jax.jit(
        jax.shard_map(
            per_device,
            mesh=mesh,
            in_specs=(P("data"), P(), P("data")),
            out_specs=P(),
            check_vma=True,
        )
    )
    close(sharded(x, kernel, symbols.numbers), slope(x, kernel)[1])


def test_mesh_with_explicit_axes():
    x, kernel, symbols = example(batch=8)
    expected = slope(x, kernel)[1]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    of_kernel = jax.jit(
        jax.grad(
            lambda k, x, n: jnp.mean(
                jnp.sin(conv2d_of_symbols(x, [no_bias(k)], Symbols(n, symbols.vectors), 1, 1)[0])
            )
        )
    )
    with jax.set_mesh(mesh):
        placed, numbers = (
            jax.device_put(array, NamedSharding(mesh, P("data"))) for array in (x, symbols.numbers)
        )
        close(of_kernel(jnp.asarray(np.asarray(kernel)), placed, numbers), expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype):
    x, kernel, symbols = example()
    (y,) = conv2d_of_symbols(x.astype(dtype), [no_bias(kernel.astype(dtype))], symbols, 1, 1)
    assert y.dtype == dtype
    close(y.astype(jnp.float32), conv2d(x, kernel, 1, 1), 2.0**-7)


def test_a_cpu_looks_up_and_others_multiply():
    x, kernel, symbols = example()
    function = jax.jit(lambda x, k: conv2d_of_symbols(x, [no_bias(k)], symbols, 1, 1)[0])
    assert "convolution(" not in function.lower(x, kernel).compile().as_text()
    assert (
        "stablehlo.convolution"
        in function.trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
    )


def test_what_does_not_fit_is_said():
    x, kernel, symbols = example()
    with pytest.raises(
        ValueError,
        match=r"numbers \(2, 5, 5\) and vectors \(4, 3\) are not those of images \(2, 6, 5, 3\)",
    ):
        conv2d_of_symbols(x, [no_bias(kernel)], symbols._replace(numbers=symbols.numbers[:, 1:]))
    with pytest.raises(ValueError, match="are not those of images"):
        conv2d_of_symbols(x, [no_bias(kernel)], symbols._replace(vectors=symbols.vectors[:, :2]))
    with pytest.raises(ValueError, match="conv2d_of_symbols: images"):
        conv2d_of_symbols(x, [no_bias(kernel[:, :, :2])], symbols)
    with pytest.raises(
        ValueError, match=r"kernels of one height and width are needed, not \(3, 3\), \(2, 3\)"
    ):
        conv2d_of_symbols(x, [no_bias(kernel), no_bias(kernel[1:])], symbols)
