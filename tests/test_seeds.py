"""Seeds: whole numbers from 0 to 2**32 - 1 wherever one is taken, by a command or by a call, and another refused in one sentence."""

from __future__ import annotations

import importlib
import re

import jax
import numpy as np
import pytest

from examples import population as embed_population
from experiments.support import common
from jaxgan import data
from jaxgan.errors import MAX_SEED, require_seed
from jaxgan.metrics import measure
from jaxgan.metrics.fit import fit
from jaxgan.metrics.kernel import kid
from jaxgan.run import train
from tests import tiny_family

WRONG = (
    -1,
    MAX_SEED + 1,
    2**64,
    1.5,
    7.0,
    True,
    None,
    "3",
    float("nan"),
    np.float32(3),
    np.array([1]),
)
WORDS = ("-1", str(2**32), str(2**64), "1.5", "1e3", "seven", "", "nan", "0x10", "-0.0")
DATASET = data.from_arrays(
    "noise", np.random.default_rng(0).integers(0, 256, (9, 4, 4, 1)).astype(np.uint8)
)
FEATURES = np.random.default_rng(0).normal(size=(6, 2))
SENTENCE = "seed must be a whole number from 0 to 4294967295 (2**32 - 1), got "


@pytest.mark.parametrize(
    "seed", [0, 1, 2**31, MAX_SEED, np.int64(7), np.uint32(MAX_SEED), np.int8(3)]
)
def test_whole_numbers_of_32_bits_are_seeds(seed):
    assert require_seed(seed) == int(seed)
    assert type(require_seed(seed)) is int


def test_keys_of_the_largest_seeds_are_their_own():
    keys = {
        tuple(jax.random.key_data(jax.random.key(seed)).tolist())
        for seed in (0, 1, 2**31 - 1, 2**31, MAX_SEED)
    }
    assert len(keys) == 5
    assert len({tuple(data.order(50, 9, seed, 0)) for seed in (0, 2**31, MAX_SEED)}) == 3


CALLS = {
    "train": lambda seed: train.run(
        tiny_family, tiny_family.Config(), DATASET, "nowhere", images=8, batch_size=8, seed=seed
    ),
    "order": lambda seed: data.order(9, 3, seed, 0),
    "order of an attempt": lambda seed: data.order(9, 3, (1, seed), 0),
    "kid": lambda seed: kid(FEATURES, FEATURES, seed=seed),
    "evaluator": lambda seed: measure.evaluator(
        tiny_family, tiny_family.Config(), DATASET, seed=seed
    ),
    "fit": lambda seed: fit(
        None,
        {},
        DATASET,
        epochs=1,
        batch_size=1,
        learning_rate=1,
        seed=seed,
        augment=data.Augment(),
    ),
    "population": lambda seed: embed_population.train_population(np.array([0, seed], object), 1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_other_seeds_are_refused_by_every_call(call):
    for seed in WRONG:
        with pytest.raises(ValueError, match=re.escape(SENTENCE)):
            call(seed)


COMMANDS = {
    "sample": ("run",),
    "evaluate": ("run",),
    "translate": ("run", "image.png", "out"),
    "project": ("run", "image.png", "out"),
    "latent": ("run", "interpolate", "out.png"),
    "demo": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_other_seeds_are_refused_by_every_command(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module(f"experiments.{command}").main
    for word in WORDS:
        for arguments in (["--seed", word], [f"--seed={word}"]):
            with pytest.raises(SystemExit) as stop:
                main([*COMMANDS[command], *arguments])
            printed = capsys.readouterr()
            assert (stop.value.code, printed.out) == (2, ""), arguments
            assert (
                printed.err
                == f"error: {SENTENCE}{word if re.fullmatch('-?[0-9]+', word) else repr(word)}\n"
            )


@pytest.mark.parametrize("word", WORDS)
def test_other_seeds_are_refused_in_training(word, capsys):
    presets = {"digits": common.Preset(tiny_family.Config(), "digits", images=8, batch_size=8)}
    with pytest.raises(SystemExit) as stop:
        common.main(tiny_family, presets, "", ["--run", "nowhere", "--seed", word])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {SENTENCE}")


def test_training_takes_the_largest_seed():
    presets = {"digits": common.Preset(tiny_family.Config(), "digits", images=8, batch_size=8)}
    assert common.parse(tiny_family, presets, "", ["--seed", str(MAX_SEED)])[1].seed == MAX_SEED
