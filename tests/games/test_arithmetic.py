"""How much a step computes: convolutions and matrix products in its jaxpr, against tables of passes written by hand. Nothing is run.

Those of vaegan, stargan, pix2pix and cyclegan are beside their tests. Spectral norm's own products, a few for each kernel and none for each image,
are left out of the tables, and small beside batches.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import flops
from jaxgan import acgan, cgan, dcgan, gan, spade, stylegan
from jaxgan.games import adversarial, styles
from jaxgan.games.stabilisers import Stabilisers
from tests.contract.helpers import KEY
from tests.games.test_translation import conv_flops, passes

BATCH = 64


def dense(inputs: int, outputs: int) -> int:
    return 2 * inputs * outputs


def plain(generator: list[int], discriminator: list[int], free: int = 0) -> int:
    """One round of the plain game: one generated image, learnt; the discriminator sees it and a real one, learns, and is gone back through once.

    free: of the discriminator's first layer, what has no image for its input.
    """
    return (
        passes(generator, forward=1, learnt=1)
        + passes(discriminator, forward=3, learnt=2, through=1)
        - free
    )


# ---------------------------------------------------------------------------------------------------------- four plain games


def gan_table() -> int:
    hidden = [240 * 5, 240 * 5]
    return plain(
        [dense(100, 1200), dense(1200, 1200), dense(1200, 784)],
        [dense(784, hidden[0]), dense(240, hidden[1]), dense(240, 1)],
    )


def cgan_table() -> int:
    """Latents and labels, images and labels have paths of their own, side by side: together the first layer."""
    generator = [dense(100, 200) + dense(10, 1000), dense(1200, 1200), dense(1200, 784)]
    label = dense(10, 50 * 5)
    return plain(
        generator, [dense(784, 240 * 5) + label, dense(290, 240 * 4), dense(240, 1)], free=label
    )


def dcgan_table() -> int:
    """32 x 32: 4, 8, 16, 32, of 32, 16, 8 and 3 feature maps; the discriminator back, of 8, 16 and 32."""
    ends = [conv_flops(4, 4, 16, 32), conv_flops(4, 4, 1, 32)]
    generator = [
        ends[0],
        conv_flops(8, 4, 16, 32, 2, 1),
        conv_flops(16, 4, 8, 16, 2, 1),
        conv_flops(32, 4, 3, 8, 2, 1),
    ]
    return plain(
        generator,
        [
            conv_flops(32, 4, 3, 8, 2, 1),
            conv_flops(16, 4, 8, 16, 2, 1),
            conv_flops(8, 4, 16, 32, 2, 1),
            ends[1],
        ],
    )


def acgan_table() -> int:
    """32 x 32: 4, 8, 16, 32, of 32, 16, 8 and 3 feature maps; six layers back, of which every other halves; two heads."""
    generator = [
        dense(16 + 10, 16 * 32),
        conv_flops(8, 5, 16, 32, 2, 2),
        conv_flops(16, 5, 8, 16, 2, 2),
        conv_flops(32, 5, 3, 8, 2, 2),
    ]
    sizes, widths = (32, 16, 16, 8, 8, 4), (3, 4, 4, 8, 8, 16, 16)
    trunk = [
        conv_flops(size, 3, widths[i], widths[i + 1], 2 - i % 2, 1) for i, size in enumerate(sizes)
    ]
    return plain(generator, [*trunk, dense(16 * 16, 1), dense(16 * 16, 10)])


# ------------------------------------------------------------------------------------------------------------------ stylegan


def mapping_layers() -> list[int]:
    return [dense(32, 24), dense(24, 24)]


def synthesis_layers() -> tuple[list[int], list[int], list[int]]:
    """16 x 16 from 4 x 4, of 32, 16 and 8 feature maps: convolutions and demodulations; maps from w; convolutions to images."""
    inner, affine, images = (
        [conv_flops(4, 3, 32, 32, 1, 1), dense(32, 32)],
        [dense(24, 32)],
        [conv_flops(4, 1, 32, 3)],
    )
    affine.append(dense(24, 32))
    for size, inputs, outputs in ((8, 32, 16), (16, 16, 8)):
        up = (
            2 * 9 * (size // 2) ** 2 * inputs * outputs
        )  # a transposed convolution whose border is cut off afterwards
        inner += [
            up,
            dense(inputs, outputs),
            conv_flops(size, 3, outputs, outputs, 1, 1),
            dense(outputs, outputs),
        ]
        affine += [dense(24, inputs), dense(24, outputs), dense(24, outputs)]
        images.append(conv_flops(size, 1, outputs, 3))
    return inner, affine, images


def judging_layers() -> list[int]:
    """16 x 16 to 4 x 4, of 8, 16 and 32 feature maps; two convolutions and a shortcut a level; no spread of the batch."""
    found = [conv_flops(16, 1, 3, 8)]
    for size, inputs, outputs in ((16, 8, 16), (8, 16, 32)):
        found += [
            conv_flops(size, 3, inputs, inputs, 1, 1),
            conv_flops(size + 1, 3, inputs, outputs, 2),
            conv_flops(size // 2, 1, inputs, outputs),
        ]
    return [*found, conv_flops(4, 3, 32, 32, 1, 1), dense(16 * 32, 32), dense(32, 1)]


def stylegan_table(r1: bool, path_length: bool) -> int:
    """Generator's turn: an image, learnt, and the discriminator gone back through. Discriminator's: another image, judged beside a real one, learnt.

    Style mixing maps two latents each time. R1: what the layers see, the way back to the image, and its derivatives by kernels and by what runs
    back; the last layer's input alone is not needed. Path lengths, of half a batch: what the layers see and the way back to w, and for both the
    derivatives by kernels and by inputs; of the layers to images the way back is enough, and its derivative by kernels.
    """
    mapping, (inner, affine, images), judging = (
        mapping_layers(),
        synthesis_layers(),
        judging_layers(),
    )
    generator = [*mapping, *inner, *affine, *images]
    mixing = passes(mapping, forward=2, learnt=1)
    total = (
        passes(generator, forward=2, learnt=1)
        + mixing
        + passes(judging, forward=3, learnt=2, through=1)
    )
    if r1:
        total += 4 * sum(judging[:-1]) + 2 * judging[-1]
    if path_length:
        total += (
            2 * passes(mapping, forward=1, learnt=1) + 6 * sum(inner + affine) + 2 * sum(images)
        ) // 2
    return total


STYLEGAN = functools.partial(
    stylegan.Config,
    (16, 16),
    3,
    0,
    32,
    24,
    2,
    channel_base=128,
    channel_max=64,
    minibatch_std_group=0,
)


# --------------------------------------------------------------------------------------------------------------------- spade


def spade_block(size: int, inputs: int, outputs: int) -> tuple[list[int], list[int]]:
    """The convolutions of the layout, and the others. The shortcut's beta has as many feature maps as the shortcut ends with."""
    middle, made = (
        min(inputs, outputs),
        [2 * inputs, 2 * min(inputs, outputs)] + [inputs + outputs] * (inputs != outputs),
    )
    shared = [conv_flops(size, 3, 5, 8, 1, 1)] * len(made)
    others = [conv_flops(size, 3, 8, width, 1, 1) for width in made]
    others += [
        conv_flops(size, 3, inputs, middle, 1, 1),
        conv_flops(size, 3, middle, outputs, 1, 1),
    ]
    return shared, others + [conv_flops(size, 1, inputs, outputs)] * (inputs != outputs)


def spade_critic(size: int) -> list[int]:
    """Layers of one scale, of an image without its layout: two of stride 2, one to the feature maps, one to the logits."""
    found, inputs = [], 3
    for outputs, stride in ((8, 2), (16, 2), (32, 1), (1, 1)):
        found.append(conv_flops(size, 4, inputs, outputs, stride, 2))
        size, inputs = size // stride + 1, outputs
    return found


def spade_table() -> int:
    """32 x 32 from 4 x 4. Two images are made, and the first learnt, but for what would run back to the layout. The critics see real and generated ones
    together: all is gone back through for the generator, and then they learn. They see a layout once for both, twice forward and once to learn.
    """
    blocks = [
        spade_block(*sizes)
        for sizes in ((4, 32, 32), (8, 32, 32), (8, 32, 32), (16, 32, 16), (32, 16, 8))
    ]
    fed = sum(sum(shared) for shared, _ in blocks) + conv_flops(4, 3, 5, 32, 1, 1)
    whole = fed + sum(sum(others) for _, others in blocks) + conv_flops(32, 3, 8, 3, 1, 1)
    judged = sum(
        2 * passes(spade_critic(size), forward=2, learnt=1, through=1) for size in (32, 16)
    )
    judged += sum(3 * conv_flops(size, 4, 5, 8, 2, 2) for size in (32, 16))
    return 2 * whole + (2 * whole - fed) + judged


# --------------------------------------------------------------------------------------------------------------------- tests


SPADE = spade.Config(
    (32, 32),
    3,
    4,
    generator_width=8,
    up_blocks=2,
    norm_width=8,
    discriminator_width=8,
    discriminator_layers=2,
)
CASES = {
    "gan": (gan, gan.Config((28, 28), 1, 100), gan_table),
    "cgan": (cgan, cgan.Config((28, 28), 1, 10, 100), cgan_table),
    "dcgan": (
        dcgan,
        dcgan.Config((32, 32), 3, 0, 16, generator_width=8, discriminator_width=8),
        dcgan_table,
    ),
    "acgan": (
        acgan,
        acgan.Config(
            (32, 32),
            3,
            10,
            16,
            generator_widths=(32, 16, 8),
            discriminator_widths=(4, 4, 8, 8, 16, 16),
        ),
        acgan_table,
    ),
    "stylegan": (
        stylegan,
        STYLEGAN(path_length_weight=0.0, stabilisers=Stabilisers()),
        functools.partial(stylegan_table, False, False),
    ),
    "stylegan r1": (
        stylegan,
        STYLEGAN(path_length_weight=0.0, stabilisers=Stabilisers(r1=1.0)),
        functools.partial(stylegan_table, True, False),
    ),
    "stylegan paths": (
        stylegan,
        STYLEGAN(stabilisers=Stabilisers()),
        functools.partial(stylegan_table, False, True),
    ),
    "stylegan both": (
        stylegan,
        STYLEGAN(stabilisers=Stabilisers(r1=1.0)),
        functools.partial(stylegan_table, True, True),
    ),
    "spade": (spade, SPADE, spade_table),
}


def counted(family, config) -> float:
    """Operations for each image."""
    state = jax.eval_shape(functools.partial(family.init, config), KEY)
    return (
        flops.count(
            functools.partial(family.train_step, config),
            state,
            family.batch_spec(config, BATCH),
            KEY,
        )
        / BATCH
    )


def some_slow(fast):
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


@pytest.mark.parametrize(
    "name", some_slow(("gan", "cgan", "dcgan", "acgan", "stylegan both", "spade"))
)
def test_arithmetic_of_a_step(name):
    """Within 1 %: no pass is made twice, and a penalty that is off costs nothing."""
    family, config, table = CASES[name]
    np.testing.assert_allclose(counted(family, config), table(), rtol=0.01)


def with_one_more(generate):
    """`generate`, whose first result is the image, after another forward pass of the generator."""

    def wasteful(*arguments):
        image, *rest = generate(*arguments)
        again = jax.lax.stop_gradient(generate(*arguments)[0])
        return image + 0 * jnp.sum(again), *rest

    return wasteful


@pytest.mark.parametrize("name", some_slow(("cgan", "dcgan")))
def test_one_more_forward_pass_is_seen(name, monkeypatch):
    """Of the generator, where it is asked for an image."""
    family, config, table = CASES[name]
    module, function = {stylegan: (styles, "generate"), spade: (spade, "_generate")}.get(
        family, (adversarial, "_generate")
    )
    monkeypatch.setattr(module, function, with_one_more(getattr(module, function)))
    assert counted(family, config) > 1.05 * table()
