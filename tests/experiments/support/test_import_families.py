"""`experiments.import_pytorch` of SPADE, StarGAN and StyleGAN2: weights that are written under the references' names come back as the same run."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import import_pytorch as command
from jaxgan import checkpoint, spade, stargan, stylegan
from jaxgan.convert.pytorch import to_state_dict
from tests.experiments.test_import_pytorch import save
from tests.experiments.test_translate_maps import filled

SPADE = spade.Config((64, 32), 3, 5, True, True, generator_width=2, norm_width=3, up_blocks=4)
STYLES = spade.Config((128, 256), 1, 4, False, False, 2, 4, "most", 3, True, 6, 5)
STARGAN = stargan.Config(
    (64, 64), 3, ("a", "b", "c", "d"), (("a", 3), ("d", 1)), generator_width=2, blocks=3
)
STYLEGAN = {
    "skip": stylegan.Config(
        (32, 32), 3, 2, 6, 5, 3, channel_base=64, channel_max=8, activation_clamp=256.0
    ),
    "resnet": stylegan.Config(
        (16, 16),
        1,
        0,
        6,
        5,
        2,
        generator_architecture="resnet",
        channel_base=32,
        channel_max=8,
        activation_clamp=256.0,
    ),
    "orig": stylegan.Config(
        (8, 8),
        4,
        0,
        4,
        6,
        1,
        generator_architecture="orig",
        channel_base=32,
        channel_max=16,
        activation_clamp=256.0,
    ),
}


def averages(family, config):
    """`State.ema` of the family, of random numbers."""
    return jax.tree.map_with_path(
        filled, jax.eval_shape(functools.partial(family.init, config), jax.random.key(0)).ema
    )


def of(ema, name):
    return {collection: leaves[name] for collection, leaves in ema.items() if name in leaves}


def imported(folder, *arguments):
    command.main([str(arguments[0]), str(folder / "run"), *map(str, arguments[1:])])
    return checkpoint.load(folder / "run")


def assert_same(tree, other):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5), tree, dict(other)
    )


def without_gain(config, **changes):
    """What of a config the generator's file tells."""
    names = (
        "image_size",
        "channels",
        "classes",
        "unknown",
        "instance_edges",
        "generator_width",
        "up_blocks",
        "upsampling",
        "norm_width",
        "encoder",
    )
    return {name: getattr(config, name) for name in names} | changes


def test_spade(tmp_path, capsys):
    ema = averages(spade, SPADE)
    file = save(
        tmp_path / "latest_net_G.npz", to_state_dict(spade._networks(SPADE)[0], of(ema, "g"))
    )
    family, config, state = imported(tmp_path, file, "--image-size", 64, 32, "--planes", "both")
    assert family is spade
    assert without_gain(config) == without_gain(SPADE)
    assert_same(of(state.ema, "g"), of(ema, "g"))
    told = json.loads((tmp_path / "run" / "config.json").read_text())["imported"]
    assert told["g"]["file"] == "latest_net_G.npz"
    assert "7 planes: 5 classes, unknown, instance edges" in capsys.readouterr().out


def test_spade_with_its_encoder(tmp_path):
    """Found beside it by its name; a fifth up-block is "most" upsampling."""
    ema, (generator, _, encoder) = averages(spade, STYLES), spade._networks(STYLES)
    file = save(tmp_path / "latest_net_G.npz", to_state_dict(generator, of(ema, "g")))
    with pytest.raises(SystemExit):
        imported(tmp_path, file, "--image-size", 128, 256)
    assert not (tmp_path / "run").exists()
    save(tmp_path / "latest_net_E.npz", to_state_dict(encoder, of(ema, "e")))
    _, config, state = imported(tmp_path, file, "--image-size", 128, 256)
    assert without_gain(config) == without_gain(STYLES)
    assert (config.style_size, config.encoder_layers) == (6, 5)
    assert_same(of(state.ema, "g"), of(ema, "g"))
    assert_same(of(state.ema, "e"), of(ema, "e"))


def test_stargan(tmp_path):
    ema = averages(stargan, STARGAN)
    file = save(
        tmp_path / "200000-G.npz", to_state_dict(stargan._networks(STARGAN)[0], of(ema, "g"))
    )
    family, config, state = imported(
        tmp_path, file, "--attributes", "a+b+c,d", "--image-size", 64, 64
    )
    assert family is stargan
    assert (
        config.attributes,
        config.groups,
        config.generator_width,
        config.blocks,
        config.channels,
    ) == (("a", "b", "c", "d"), STARGAN.groups, 2, 3, 3)
    assert_same(of(state.ema, "g"), of(ema, "g"))


@pytest.mark.parametrize("name", STYLEGAN)
def test_stylegan(name, tmp_path):
    given = STYLEGAN[name]
    ema = averages(stylegan, given)
    file = save(tmp_path / "G_ema.npz", to_state_dict(stylegan.networks(given)[0], ema))
    family, config, state = imported(tmp_path, file)
    assert family is stylegan
    assert stylegan.networks(config)[0].image_shape == stylegan.networks(given)[0].image_shape
    fields = (
        "classes",
        "latent_size",
        "style_size",
        "mapping_layers",
        "generator_architecture",
        "activation_clamp",
    )
    assert [getattr(config, field) for field in fields] == [
        getattr(given, field) for field in fields
    ]
    assert_same(state.ema, ema)
    labels = {"labels": jnp.zeros(1, jnp.int32)} if config.classes else {}
    made = jax.eval_shape(
        lambda state: stylegan.sample(config, state, jax.random.key(0), 1, **labels), state
    )
    assert made.shape == (1, *given.image_size, given.channels)


def test_what_cannot_be_imported(tmp_path, capsys):
    """One sentence each, and nothing is left."""
    (tmp_path / "network.pkl").write_bytes(b"anything")
    stars = save(
        tmp_path / "stars.npz",
        to_state_dict(stargan._networks(STARGAN)[0], of(averages(stargan, STARGAN), "g")),
    )
    maps = save(
        tmp_path / "maps_G.npz",
        to_state_dict(spade._networks(SPADE)[0], of(averages(spade, SPADE), "g")),
    )
    for arguments, message in {
        (
            tmp_path / "network.pkl",
        ): "is an unrestricted pickle, which may run any code and is not read: where you trust it, save its weights",
        (stars, "--attributes", "a,b"): "told 4 attributes, and --attributes names 2",
        (stars, "--planes", "both"): "leave out --planes, which is for spade",
        (stars, "--direction", "a2b"): "for which --direction means nothing",
        (maps, "--attributes", "a"): "leave out --attributes, which is for stargan",
        (maps, "--image-size", "60", "60"): "image_size must be multiples of 32",
        (maps, "--other", stars): "the generator has no styles, so it needs no encoder",
    }.items():
        with pytest.raises(SystemExit) as stop:
            imported(tmp_path, *arguments)
        error = capsys.readouterr().err
        assert stop.value.code == 2
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()
