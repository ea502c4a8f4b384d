"""The layers with weights: against NumPy, in both precisions, with spectral norm as an option."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.layers import Conv, ConvTranspose, Dense, Embedding

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 4)).astype(np.float32)


def test_dense():
    kernel, bias = (
        RANDOM.normal(size=(4, 5)).astype(np.float32),
        RANDOM.normal(size=5).astype(np.float32),
    )
    np.testing.assert_allclose(
        Dense(5).apply({"params": {"kernel": kernel, "bias": bias}}, X),
        X @ kernel + bias,
        rtol=1e-5,
    )
    assert set(Dense(5, use_bias=False).init(jax.random.key(0), X)["params"]) == {"kernel"}


def test_embedding():
    table = RANDOM.normal(size=(3, 2)).astype(np.float32)
    labels = jnp.array([2, 0, 2, 1])
    np.testing.assert_array_equal(
        Embedding(3, 2).apply({"params": {"embedding": table}}, labels), table[np.asarray(labels)]
    )
    with pytest.raises(ValueError, match="needs labels"):
        Embedding(3, 2).apply({"params": {"embedding": table}}, None)


def test_spectrally_normalised_embedding_has_norm_one():
    layer, labels = Embedding(6, 4, spectral_norm=True), jnp.arange(6)
    variables = layer.init(jax.random.key(0), labels)
    for _ in range(60):
        table, new = layer.apply(variables, labels, True, mutable=["spectral"])
        variables = {**variables, **new}
    assert np.linalg.svd(table, compute_uv=False)[0] == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv(5, (3, 2), (2, 1), ((1, 1), (0, 1))), (2, 4, 7, 5)),
        (Conv(5, 4, 2, 1), (2, 4, 3, 5)),
        (ConvTranspose(5, 4, 2, 1), (2, 16, 14, 5)),
        (ConvTranspose(5, 5, 2, 2, 1), (2, 16, 14, 5)),
        (ConvTranspose(5, (2, 3)), (2, 9, 9, 5)),
    ],
)
def test_sizes_and_precision(layer, shape):
    """Sizes by PyTorch's formulas; bfloat16 in, float32 parameters, and the result within bfloat16's three digits."""
    x = RANDOM.normal(size=(2, 8, 7, 3)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x)
    y = layer.apply(variables, x)
    assert (y.shape, y.dtype) == (shape, jnp.float32)
    half = layer.clone(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.init(jax.random.key(0), x))} == {
        jnp.dtype("float32")
    }
    rough = half.apply(variables, x)
    assert rough.dtype == jnp.bfloat16
    np.testing.assert_allclose(rough.astype(jnp.float32), y, atol=0.03 * float(jnp.abs(y).max()))


def test_bias_is_added_to_every_pixel():
    x = jnp.zeros((1, 4, 4, 2))
    for layer in (Conv(3, 3, 1, 1), ConvTranspose(3, 4, 2, 1)):
        params = layer.init(jax.random.key(0), x)["params"]
        y = layer.apply({"params": {**params, "bias": jnp.array([1.0, 2.0, 3.0])}}, x)
        np.testing.assert_array_equal(y, np.broadcast_to([1.0, 2.0, 3.0], y.shape))
