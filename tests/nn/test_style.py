"""StyleGAN's layers against NumPy: scaled weights, modulation by a kernel for each example, noise, AdaIN, the batch's spread; and the low-pass filters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxgan.nn.resample import BINOMIAL, downsample_filtered, low_pass, upsample_filtered
from jaxgan.nn.style import (
    AdaIN,
    EqualConv,
    EqualDense,
    Noise,
    ToImage,
    modulated_conv,
    noise_planes,
    with_batch_spread,
)
from jaxgan.parallel import data_mesh

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 4, 6, 5)).astype(np.float32)
FILTER = np.outer(BINOMIAL, BINOMIAL) / 64


def upfirdn(x, kernel, up, low, high, down):
    """The definition: zeros between pixels, padding, correlation with a symmetric kernel, every `down`-th pixel."""
    spread = np.zeros((x.shape[0], x.shape[1] * up, x.shape[2] * up, x.shape[3]))
    spread[:, ::up, ::up] = x
    spread = np.pad(spread, ((0, 0), (low, high), (low, high), (0, 0)))
    k = kernel.shape[0]
    rows, columns = spread.shape[1] - k + 1, spread.shape[2] - k + 1
    whole = sum(
        kernel[u, v] * spread[:, u : u + rows, v : v + columns] for u in range(k) for v in range(k)
    )
    return whole[:, ::down, ::down]


def correlate(x, kernel, pad):
    """[H, W, I] with [k, k, I, O]."""
    k = kernel.shape[0]
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    rows, columns = x.shape[0] - k + 1, x.shape[1] - k + 1
    return sum(x[u : u + rows, v : v + columns] @ kernel[u, v] for u in range(k) for v in range(k))


def test_filters_are_upfirdn():
    np.testing.assert_allclose(
        upsample_filtered(X), upfirdn(X, 4 * FILTER, 2, 2, 1, 1)[:, :8, :12], atol=1e-6
    )
    np.testing.assert_allclose(downsample_filtered(X), upfirdn(X, FILTER, 1, 1, 1, 2), atol=1e-6)
    np.testing.assert_allclose(
        low_pass(X, BINOMIAL, (2, 2)), upfirdn(X, FILTER, 1, 2, 2, 1), atol=1e-6
    )
    smooth = np.outer((1, 2, 1), (1, 2, 1)) / 16
    np.testing.assert_allclose(
        low_pass(X, (1, 2, 1), (1, 1)), upfirdn(X, smooth, 1, 1, 1, 1), atol=1e-6
    )


def test_dense_scales_kernel_and_bias():
    kernel, bias = (
        RANDOM.normal(size=(5, 7)).astype(np.float32),
        RANDOM.normal(size=7).astype(np.float32),
    )
    x, variables = X[:, 0, 0], {"params": {"kernel": kernel, "bias": bias}}
    expected = x @ kernel * 0.01 / np.sqrt(5) + 0.01 * bias
    np.testing.assert_allclose(
        EqualDense(7, rate=0.01).apply(variables, x), expected, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        EqualDense(7, True, 0.01).apply(variables, x),
        np.sqrt(2) * np.maximum(expected, 0.2 * expected),
        rtol=1e-5,
        atol=1e-7,
    )
    fresh = EqualDense(400, rate=0.01, bias_init=1.0).init(jax.random.key(0), x)["params"]
    assert np.std(fresh["kernel"]) == pytest.approx(100, rel=0.1)
    np.testing.assert_array_equal(fresh["bias"], 1)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_convolution_that_halves(kernel_size):
    layer = EqualConv(4, kernel_size, "down")
    variables = layer.init(jax.random.key(0), X)
    kernel = np.asarray(variables["params"]["kernel"]) / np.sqrt(kernel_size**2 * 5)
    filtered = (
        upfirdn(X, FILTER, 1, 1, 1, 2) if kernel_size == 1 else upfirdn(X, FILTER, 1, 2, 2, 1)
    )
    whole = np.stack([correlate(x, kernel, 0) for x in filtered])
    expected = whole if kernel_size == 1 else whole[:, ::2, ::2]
    expected = np.sqrt(2) * 0.5 * np.maximum(expected, 0.2 * expected)
    np.testing.assert_allclose(layer.apply(variables, X, 0.5), expected, atol=1e-5)
    clamped = EqualConv(4, kernel_size, "down", clamp=0.3)
    np.testing.assert_allclose(
        clamped.apply(variables, X, 0.5), np.clip(expected, -0.15, 0.15), atol=1e-5
    )


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulation_is_a_kernel_for_each_example(up, demodulate):
    kernel, style = RANDOM.normal(size=(3, 3, 5, 4)), RANDOM.normal(size=(3, 5))
    expected = []
    for x, scale in zip(X.astype(np.float64), style, strict=True):
        own = kernel * scale[None, None, :, None]
        own = own / np.sqrt((own**2).sum((0, 1, 2)) + 1e-8) if demodulate else own
        if up:  # zeros between the pixels, then the flipped kernel: a transposed convolution
            spread = np.zeros((7, 11, 5))
            spread[::2, ::2] = x
            expected.append(
                upfirdn(correlate(spread, own[::-1, ::-1], 2)[None], 4 * FILTER, 1, 1, 1, 1)[0]
            )
        else:
            expected.append(correlate(x, own, 1))
    ours = modulated_conv(
        jnp.asarray(X), jnp.float32(kernel), jnp.float32(style), demodulate=demodulate, up=up
    )
    np.testing.assert_allclose(ours, np.stack(expected), atol=2e-5)


def test_to_image_is_not_demodulated():
    w = RANDOM.normal(size=(3, 7)).astype(np.float32)
    layer = ToImage(2)
    params = layer.init(jax.random.key(0), X, w)["params"]
    style = w @ np.asarray(params["affine"]["kernel"]) / np.sqrt(7) + 1
    expected = np.einsum("bhwi,bi,io->bhwo", X, style / np.sqrt(5), params["kernel"][0, 0])
    np.testing.assert_allclose(layer.apply({"params": params}, X, w), expected, atol=1e-5)


def test_adain():
    """Every channel gets the mean and the spread of its style."""
    w = RANDOM.normal(size=(3, 7)).astype(np.float32)
    layer = AdaIN()
    params = layer.init(jax.random.key(0), X, w)["params"]
    style = w @ np.asarray(params["affine"]["kernel"]) / np.sqrt(7)
    y = np.asarray(layer.apply({"params": params}, X, w))
    np.testing.assert_allclose(y.mean((1, 2)), style[:, 5:], atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), np.abs(style[:, :5] + 1), rtol=1e-5)


def test_noise():
    """Off at the start; then one plane for all channels: of each example's key, or the constant one; a strength for each channel as an option."""
    x, keys = jnp.zeros((3, 4, 6, 5)), jax.random.split(jax.random.key(1), 3)
    other, planes = noise_planes("random", [(2, 3), (4, 6)], keys)
    assert (other.shape, planes.shape) == ((3, 2, 3), (3, 4, 6))
    assert np.concatenate([other.ravel(), planes.ravel()]).std() == pytest.approx(1, rel=0.2)
    np.testing.assert_array_equal(noise_planes("random", [(2, 3), (4, 6)], keys[1:])[1], planes[1:])
    variables = Noise().init(jax.random.key(0), x, planes)
    np.testing.assert_array_equal(Noise().apply(variables, x, planes), 0)
    strong = {**variables, "params": {"strength": jnp.float32(0.5)}}
    np.testing.assert_allclose(
        Noise().apply(strong, x, planes), np.broadcast_to(0.5 * planes[..., None], x.shape)
    )
    constant = 0.5 * np.asarray(variables["noise"]["constant"])
    (of_layer,) = noise_planes("constant", [(4, 6)], None)
    np.testing.assert_allclose(
        Noise().apply(strong, x, of_layer), np.broadcast_to(constant[None, :, :, None], x.shape)
    )
    np.testing.assert_array_equal(
        Noise().apply(strong, x, *noise_planes("none", [(4, 6)], None)), 0
    )
    each = {**variables, "params": {"strength": jnp.arange(5.0)}}
    np.testing.assert_allclose(
        Noise(True).apply(each, x, planes),
        planes[..., None] * np.arange(5).reshape(1, 1, 1, 5),
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="one key for each example"):
        noise_planes("random", [(4, 6)], None)
    with pytest.raises(ValueError, match="'random', 'constant', 'none'"):
        noise_planes("white", [(4, 6)], None)


def spread(x, group):
    """By the definition, group after group: examples i, i + n, ... belong together."""
    n = len(x) // group
    return np.array([x[i % n :: n].std(0).mean() for i in range(len(x))])


def test_spread_of_the_batch():
    x = RANDOM.normal(size=(8, 2, 3, 4)).astype(np.float32)
    for group in (2, 4, 8):
        y = np.asarray(with_batch_spread(jnp.asarray(x), group, None))
        np.testing.assert_array_equal(y[..., :4], x)
        np.testing.assert_allclose(y[:, 1, 1, 4], spread(x, group), rtol=1e-5)
        assert np.all(y[..., 4] == y[:, :1, :1, 4])
    np.testing.assert_array_equal(
        with_batch_spread(jnp.asarray(x), 32, None), y
    )  # a smaller batch is one group
    with pytest.raises(ValueError, match="multiple of minibatch_std_group"):
        with_batch_spread(jnp.asarray(x), 3, None)


def test_spread_and_its_gradient_are_of_the_batch_over_all_devices():
    x, weights = (jnp.float32(RANDOM.normal(size=(8, 2, 3, c))) for c in (4, 5))

    def gradient(x, weights, axis_name=None):
        return jax.grad(lambda x: jnp.sum(with_batch_spread(x, 4, axis_name) * weights))(x)

    mapped = jax.shard_map(
        lambda x, w: gradient(x, w, "data"),
        mesh=data_mesh(),
        in_specs=P("data"),
        out_specs=P("data"),
    )
    np.testing.assert_allclose(mapped(x, weights), gradient(x, weights), atol=1e-6)
