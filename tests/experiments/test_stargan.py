"""StarGAN's presets: they parse, they say what they are, they are the paper's; and the data decides the attributes, whose balance is printed."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from experiments import stargan as experiment
from experiments.support import common
from jaxgan import data, stargan, train
from jaxgan.errors import DataError


@pytest.mark.parametrize("preset", experiment.PRESETS)
def test_presets_parse_and_are_described(preset):
    chosen, options, config = common.parse(
        stargan, experiment.PRESETS, experiment.__doc__, ["--preset", preset]
    )
    assert config == chosen.config
    assert options.data == chosen.data
    assert preset in experiment.__doc__
    call = chosen.batch_size * config.stabilisers.critic_steps
    assert chosen.images % call == 0


def test_digits_come_first_and_fit_their_data():
    assert next(iter(experiment.PRESETS)) == "digits"
    options, config, dataset = common.prepare(
        experiment.PRESETS["digits"], *common.parse(stargan, experiment.PRESETS, "", [])[1:], []
    )
    assert config == experiment.PRESETS["digits"].config
    data.check(dataset, stargan.batch_spec(config, options.batch_size))


@pytest.mark.parametrize("preset", ["celeba", "utkface"])
def test_the_recipe_is_the_papers(preset):
    """200,000 critic steps of 16 mirrored images at 128x128, five to one; both rates 1e-4, linear to zero over the last half."""
    chosen = experiment.PRESETS[preset]
    config, s = chosen.config, chosen.config.stabilisers
    assert (chosen.images, chosen.batch_size, chosen.image_size, chosen.augment.flip) == (
        3_200_000,
        16,
        (128, 128),
        True,
    )
    assert (
        s.critic_steps,
        s.gradient_penalty,
        config.class_weight,
        config.reconstruction_weight,
        config.loss,
    ) == (5, 10, 1, 10, "wasserstein")
    assert (
        config.generator_width,
        config.blocks,
        config.discriminator_width,
        config.discriminator_layers,
    ) == (64, 6, 64, 6)
    for optimizer in (config.generator_optimizer, config.discriminator_optimizer):
        assert (optimizer.name, optimizer.learning_rate, optimizer.beta1, optimizer.beta2) == (
            "adam",
            1e-4,
            0.5,
            0.999,
        )
        assert optimizer.constant_images == optimizer.decay_images == 1_600_000


def test_utkface_has_the_attributes_of_its_preset(real_data):
    spec = experiment.UTKFACE.replace("utkface.zip", str(real_data / "utkface.zip"))
    source = data.sources.find(spec, "train")
    source.close()
    assert (source.attribute_names, source.groups) == tuple(experiment.UTKFACE_GROUPS.values())


def test_the_data_decides_the_attributes(tmp_path, monkeypatch, capsys):
    """Their names and groups; and how often each is 1 is printed before training."""
    for name, count in (("cat", 3), ("dog", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(np.full((16, 16, 3), 50 * i, np.uint8)).save(
                tmp_path / name / f"{i}.png"
            )
    seen = []

    def train(family, options, config, dataset):
        seen.append((config, capsys.readouterr().out))
        return types.SimpleNamespace(images=0)

    monkeypatch.setattr(common, "train", train)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    common.main(stargan, experiment.PRESETS, "", ["--data", f"attributes:{tmp_path}"])
    ((config, printed),) = seen
    assert (config.attributes, config.groups) == (("cat", "dog"), (("class", 2),))
    assert [line.split() for line in printed.splitlines()] == [["attributes", "2", "in", "1", "group"], ["class:", "one", "of", "2"], *(
        [["cat", "3", "75.0%"], ["dog", "1", "25.0%"]]
    )]  # fmt: skip


def test_data_of_other_attributes_is_refused_before_anything_is_written(tmp_path):
    config = dataclasses.replace(
        experiment.PRESETS["digits"].config, attributes=("blue", "green", "red")
    )
    for wrong, told in (
        (config, "has the attributes red, green, blue, but"),
        (dataclasses.replace(config, known=((True,) * 3,) * 2), "has no sets"),
    ):
        with pytest.raises(DataError, match=told):
            train.run(
                stargan,
                wrong,
                "attributes:digits",
                tmp_path / "run",
                images=80,
                batch_size=16,
                progress=False,
            )
    assert not list(tmp_path.iterdir())


def test_several_sets_decide_attributes_and_masks(tmp_path, monkeypatch):
    for name in ("a/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.full((9, 9, 3), 50, np.uint8)).save(tmp_path / name)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    arguments = [
        "--data",
        f"attributes:digits+attributes:{tmp_path}",
        "--config.discriminator-layers",
        "2",
    ]
    options, config, dataset = common.prepare(
        experiment.PRESETS["digits"],
        *common.parse(stargan, experiment.PRESETS, "", arguments)[1:],
        arguments,
    )
    assert (config.attributes, config.groups) == (
        ("red", "green", "blue", "a", "b"),
        (("ink", 3), ("class", 2)),
    )
    assert config.known == ((True, True, True, False, False), (False, False, False, True, True))
    data.check(
        dataset, stargan.batch_spec(config, options.batch_size), stargan.conditioning(config)
    )
