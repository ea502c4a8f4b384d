"""Batch norm against PyTorch's, over several batches: outputs, running statistics, gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.norm import BatchNorm


def test_batch_norm_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    batches = random.normal(3, 2, (4, 5, 2, 3, 6)).astype(np.float32)
    weights = random.normal(size=batches[0].shape).astype(np.float32)
    theirs, ours = torch.nn.BatchNorm2d(6), BatchNorm()
    variables = ours.init(jax.random.key(0), batches[0], train=False)

    def last(x):
        """NHWC -> NCHW, as a tensor."""
        return torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)

    for batch in batches[:3]:
        expected = theirs(given := last(batch))
        (expected * last(weights).detach()).sum().backward()

        def weighted(x, variables=variables):
            y, new = ours.apply(variables, x, train=True, mutable=["batch_stats"])
            return jnp.sum(y * weights), (y, new)

        gradient, (y, new) = jax.grad(weighted, has_aux=True)(batch)
        np.testing.assert_allclose(y, expected.detach().numpy().transpose(0, 2, 3, 1), atol=1e-5)
        np.testing.assert_allclose(gradient, given.grad.numpy().transpose(0, 2, 3, 1), atol=1e-5)
        variables = {**variables, **new}
        np.testing.assert_allclose(
            new["batch_stats"]["mean"], theirs.running_mean.numpy(), rtol=1e-5
        )
        np.testing.assert_allclose(new["batch_stats"]["var"], theirs.running_var.numpy(), rtol=1e-5)
    theirs.eval()
    expected = theirs(last(batches[3])).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours.apply(variables, batches[3], train=False), expected, atol=1e-5)
