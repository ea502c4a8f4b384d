"""Names of class-conditional StyleGAN2, of which there are no golden files: those of stylegan2-ada-pytorch, there and back."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxgan.convert.pytorch import from_state_dict, to_state_dict
from jaxgan.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

OPTIONS = {"classes": 3, "channel_base": 32, "channel_max": 4}
LATENTS, IMAGES, LABELS = (
    np.zeros((1, 5), np.float32),
    np.zeros((1, 8, 8, 2), np.float32),
    np.zeros(1, np.int32),
)


@pytest.mark.parametrize(("network", "example", "expected"), [
    (StyleGAN2Generator((8, 8, 2), 6, 2, **OPTIONS), LATENTS, {
        "mapping.embed.weight": (6, 3), "mapping.fc0.weight": (6, 11), "mapping.fc1.bias": (6,), "mapping.w_avg": (6,),
        "synthesis.b4.const": (4, 4, 4), "synthesis.b8.conv0.noise_const": (8, 8), "synthesis.b8.torgb.affine.weight": (4, 6),
    }),
    (StyleGAN2Discriminator(**OPTIONS), IMAGES, {
        "mapping.embed.weight": (4, 3), "mapping.fc7.weight": (4, 4), "b8.fromrgb.weight": (4, 2, 1, 1), "b8.skip.weight": (4, 4, 1, 1),
        "b4.conv.weight": (4, 5, 3, 3), "b4.fc.weight": (4, 64), "b4.out.weight": (4, 4), "b4.conv.resample_filter": (4, 4),
    }),
], ids=["G", "D"])  # fmt: skip
def test_class_conditional_networks(network, example, expected):
    variables = jax.jit(network.init)(jax.random.key(0), example, LABELS)
    arrays = to_state_dict(network, variables)
    assert expected.items() <= {name: array.shape for name, array in arrays.items()}.items()
    jax.tree.map(np.testing.assert_array_equal, from_state_dict(network, arrays), variables)
    del arrays["mapping.embed.weight"]
    with pytest.raises(ValueError, match=r"missing: mapping\.embed\.weight"):
        from_state_dict(network, arrays)
