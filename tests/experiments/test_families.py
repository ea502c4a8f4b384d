"""Every family's presets: they parse, they fit their data, and they say in `--help` what they are."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.support import common
from jaxgan import data

NOISE = ("gan", "cgan", "dcgan", "acgan", "stylegan")
TRANSLATION = {
    "pix2pix": ("maps", "facades", "edges2shoes"),
    "cyclegan": ("outline", "maps", "horse2zebra", "summer2winter", "monet2photo"),
}
AUTOENCODERS = {"vaegan": ("mnist", "fashion_mnist", "faces64")}
FAMILIES = (*NOISE, *TRANSLATION, *AUTOENCODERS)
SIZES = {"mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1)}
PRESETS = [
    (name, preset)
    for name in FAMILIES
    for preset in importlib.import_module(f"experiments.{name}").PRESETS
]


def load(name):
    return importlib.import_module(f"jaxgan.families.{name}"), importlib.import_module(
        f"experiments.{name}"
    )


def fake_open(
    spec,
    *,
    image_size=None,
    channels=None,
    split="train",
    resize="cover",
    skip_bad=False,
    stream=False,
):
    """The real digits, or twenty images, or pairs, of the right size and ten classes."""
    if "digits" in spec:
        return data.opening.open(
            spec, image_size=image_size, channels=channels, split=split, resize=resize
        )
    if spec.startswith(("paired:", "tfds:cycle_gan/")):
        one = np.zeros((20, *image_size, 3), np.uint8)
        return data.from_domains(
            spec,
            one,
            one[:13] if spec.startswith("tfds:") else one,
            independent=spec.startswith("tfds:"),
        )
    height, width, depth = SIZES.get(spec.removeprefix("tfds:"), (32, 32, 3))
    height, width = image_size or (height, width)
    return data.from_arrays(
        spec, np.zeros((20, height, width, channels or depth), np.uint8), np.arange(20) % 10
    )


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_fits_its_data(name, preset, monkeypatch):
    monkeypatch.setattr("jaxgan.data.open", fake_open)
    family, experiment = load(name)
    chosen, options, config = common.parse(
        family, experiment.PRESETS, experiment.__doc__, ["--preset", preset]
    )
    assert config == chosen.config
    options, config, dataset = common.prepare(chosen, options, config, ["--preset", preset])
    crop = options.crop
    data.check(
        dataset,
        family.batch_spec(config, options.batch_size),
        family.conditioning(config),
        crop=crop,
    )
    call = options.batch_size * options.steps_per_call * config.stabilisers.critic_steps
    for count in (
        options.images,
        options.log_every,
        options.sample_every,
        options.checkpoint_every,
    ):
        assert count > 0
        assert count % call == 0
    assert chosen.images <= options.images < chosen.images + call


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_is_described(name, preset):
    assert preset in load(name)[1].__doc__


@pytest.mark.parametrize("name", FAMILIES)
def test_the_data_sets_are_there_and_digits_come_first(name):
    presets = load(name)[1].PRESETS
    assert next(iter(presets)) == "digits"
    expected = (
        ("cifar10", "faces64", "faces128")
        if name == "stylegan"
        else ("mnist", "fashion_mnist", "cifar10")
    )
    assert set(presets) >= {"digits", *(TRANSLATION | AUTOENCODERS).get(name, expected)}


@pytest.mark.parametrize("name", TRANSLATION)
def test_the_recipes_are_the_papers(name):
    """256 x 256 cut from 286, mirrored, batch 1, Adam at 2e-4 with beta1 0.5, constant for half of the time and linear to zero for the other."""
    for preset in TRANSLATION[name]:
        chosen = load(name)[1].PRESETS[preset]
        if preset == "outline":
            continue
        assert chosen.image_size == chosen.config.image_size == (256, 256)
        assert (chosen.augment.crop, chosen.augment.flip, chosen.resize) == (30, True, "stretch")
        assert chosen.batch_size == (4 if preset == "edges2shoes" else 1)
        for optimizer in (chosen.config.generator_optimizer, chosen.config.discriminator_optimizer):
            assert (optimizer.name, optimizer.learning_rate, optimizer.beta1) == ("adam", 2e-4, 0.5)
            assert 0 <= chosen.images - (optimizer.constant_images + optimizer.decay_images) <= 1


def test_a_rule_reads_the_data_and_spares_what_was_given(monkeypatch):
    """StyleGAN's R1 weight and batch-dependent half-life by the data's 32x32 and the batch; settings given by flag, nested ones too, stay."""
    monkeypatch.setattr("jaxgan.data.open", fake_open)
    family, experiment = load("stylegan")
    arguments = [
        "--preset",
        "auto",
        "--batch-size",
        "16",
        "--config.stabilisers.ema-half-life",
        "123",
        "--config.channel-base",
        "1024",
    ]
    _, config, _ = common.prepare(
        *common.parse(family, experiment.PRESETS, "", arguments), arguments
    )
    assert (config.image_size, config.stabilisers.r1) == (
        (32, 32),
        pytest.approx(0.0002 * 32**2 / 16),
    )
    assert (
        config.stabilisers.ema_half_life,
        config.stabilisers.ema_ramp,
        config.channel_base,
        config.mapping_layers,
    ) == (123, 0.05, 1024, 2)


def test_help_as_a_person_gets_it():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cgan", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for part in (
        "usage: python -m experiments.cgan",
        "Mirza & Osindero 2014",
        "--config.stabilisers.ema-half-life",
        "(default: 20000",
    ):
        assert part in done.stdout


def test_a_wrong_setting_is_one_sentence_and_status_2():
    command = [sys.executable, "-m", "experiments.dcgan", "--config.image-size", "30", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "image_size must be multiples of 4" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
