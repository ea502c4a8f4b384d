"""SPADE's presets: they parse, they say what they are, they are the paper's; and the perceptual loss's weights are asked for before training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments import spade as experiment
from experiments.support import common
from jaxgan import data, spade
from jaxgan.errors import DataError


@pytest.mark.parametrize("preset", experiment.PRESETS)
def test_presets_parse_and_are_described(preset):
    chosen, options, config = common.parse(
        spade, experiment.PRESETS, experiment.__doc__, ["--preset", preset]
    )
    assert config == chosen.config
    assert options.data == chosen.data
    assert preset in experiment.__doc__
    assert config.features == "none"


def test_digits_come_first_and_fit_their_data():
    assert next(iter(experiment.PRESETS)) == "digits"
    options, config, dataset = common.prepare(
        experiment.PRESETS["digits"], *common.parse(spade, experiment.PRESETS, "", [])[1:], []
    )
    assert config == experiment.PRESETS["digits"].config
    data.check(dataset, spade.batch_spec(config, options.batch_size))


@pytest.mark.parametrize(("preset", "epoch"), [("ade20k", 20_210), ("cityscapes", 2_975)])
def test_the_recipe_is_the_papers(preset, epoch):
    """200 epochs; rates 1e-4 and 4e-4, linear to zero over the last half; the networks' full widths."""
    chosen = experiment.PRESETS[preset]
    config = chosen.config
    assert chosen.images == 200 * epoch
    assert (config.generator_width, config.up_blocks, config.norm_width, config.upsampling) == (
        64,
        4,
        128,
        "normal",
    )
    assert (
        config.discriminator_width,
        config.discriminator_layers,
        config.discriminator_scales,
    ) == (64, 3, 2)
    assert (config.loss, config.feature_weight, config.perceptual_weight, config.kl_weight) == (
        "hinge",
        10,
        10,
        0.05,
    )
    for optimizer, rate in (
        (config.generator_optimizer, 1e-4),
        (config.discriminator_optimizer, 4e-4),
    ):
        assert (optimizer.name, optimizer.learning_rate, optimizer.beta1, optimizer.beta2) == (
            "adam",
            rate,
            0,
            0.9,
        )
        assert optimizer.constant_images == optimizer.decay_images == 100 * epoch


def test_ade20k_is_the_default_setting():
    config = experiment.PRESETS["ade20k"].config
    plain = {
        name: getattr(spade.Config(), name)
        for name in ("generator_optimizer", "discriminator_optimizer")
    }
    assert dataclasses.replace(config, **plain) == spade.Config()


def test_camvid_fits_its_data(real_data):
    spec = experiment.PRESETS["camvid"].data.replace("camvid", str(real_data / "camvid"))
    source = data.sources.find(spec, "train")
    source.close()
    assert len(source.class_names()) == experiment.PRESETS["camvid"].config.classes


def test_missing_weights_are_told_before_training(tmp_path):
    options, config = common.Options(run=str(tmp_path / "run")), experiment.PRESETS["ade20k"].config
    experiment.check_features(options, config)
    config = dataclasses.replace(
        config, features="vgg19", features_path=str(tmp_path / "vgg19.pth")
    )
    with pytest.raises(DataError, match=r"there is no file .*vgg19\.pth"):
        experiment.check_features(options, config)
    Path(config.features_path).write_bytes(b"something else")
    with pytest.raises(DataError, match="is not the expected file of vgg19"):
        experiment.check_features(options, config)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    experiment.check_features(options, config)
