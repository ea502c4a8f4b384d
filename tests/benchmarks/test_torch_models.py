"""The games in PyTorch play what ours play, and the benchmark's arithmetic and protocol hold. Skipped where PyTorch is not installed."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from benchmarks import against_pytorch, pytorch_cases, record, rivals, sides  # noqa: E402
from benchmarks.torch_models import adversarial, learning  # noqa: E402
from benchmarks.torch_models.batches import FAMILIES, random_batch, tensors  # noqa: E402
from benchmarks.torch_models.games import GAMES  # noqa: E402
from benchmarks.torch_models.side_by_side import compare, largest_difference  # noqa: E402
from benchmarks.torch_models.stylegan2_networks import _filter, _means, blur, halve, modulated  # noqa: E402
from benchmarks.torch_models.tiny import TINY  # noqa: E402
from benchmarks.torch_models.translation import ReplayPool  # noqa: E402
from jaxgan.games.stabilisers import Stabilisers  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*spectral_norm.*:FutureWarning", "ignore:.*spectral_norm.*:DeprecationWarning"
)

LOSSES = {
    "dcgan": {"d_loss", "g_loss"},
    "cgan": {"d_loss", "g_loss"},
    "pix2pix": {"d_loss", "g_loss", "g_adversarial_loss", "l1_loss"},
    "cyclegan": {
        "d_a_loss",
        "d_b_loss",
        "a2b_adversarial_loss",
        "b2a_adversarial_loss",
        "cycle_a_loss",
        "cycle_b_loss",
        "identity_a_loss",
        "identity_b_loss",
    },
    "stargan": {
        "d_loss",
        "d_adversarial_loss",
        "d_class_loss",
        "gradient_penalty",
        "g_adversarial_loss",
        "g_class_loss",
        "reconstruction_loss",
    },
    "spade": {"d_loss", "g_adversarial_loss", "feature_matching_loss"},
    "stylegan": {"d_loss", "g_loss", "path_length_mean"},
}


# The others compile for more than a few seconds.
@pytest.mark.parametrize(
    "name",
    [name if name == "cgan" else pytest.param(name, marks=pytest.mark.slow) for name in TINY],
)
def test_losses_are_equal_for_three_rounds(name):
    compared = compare(name, *TINY[name])
    assert LOSSES[name] <= compared.keys()
    assert largest_difference(compared) <= against_pytorch.TOLERANCE
    assert all(
        len(set(theirs)) == 3
        for metric, (_, theirs) in compared.items()
        if metric != "path_length_mean"
    )  # it learns


def test_another_game_is_seen(monkeypatch):
    """The comparison can fail: with a hundred times the rate on PyTorch's side only the very first loss is the same."""

    def faster(parameters, settings):
        return learning.adam(
            parameters, dataclasses.replace(settings, learning_rate=100 * settings.learning_rate)
        )

    monkeypatch.setattr(adversarial, "adam", faster)
    compared = compare("cgan", *TINY["cgan"])
    ours, theirs = compared["d_loss"]
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert largest_difference(compared) > against_pytorch.TOLERANCE


def trains_on_its_own_draws(name, options):
    config, batch_size = TINY[name]
    torch.manual_seed(0)
    game = GAMES[name](config, options)
    batch = tensors(random_batch(FAMILIES[name], config, batch_size, 0), options)
    before = [
        value.clone()
        for player in game.networks.values()
        for network in player.values()
        for value in network.parameters()
    ]
    metrics = [game.step(batch) for _ in range(2)]
    after = [
        value
        for player in game.networks.values()
        for network in player.values()
        for value in network.parameters()
    ]
    assert all(
        torch.isfinite(value) and not value.requires_grad
        for one in metrics
        for value in one.values()
    )
    assert all(value.dtype == torch.float32 for value in after)
    # A bias in front of a norm has no gradient but rounding errors'.
    assert not any(
        torch.equal(old, new) for old, new in zip(before, after, strict=True) if old.ndim > 1
    )
    assert all(value.requires_grad for value in after)


@pytest.mark.parametrize("name", list(GAMES))
def test_every_game_trains_in_bfloat16(name):
    trains_on_its_own_draws(name, learning.Options(dtype="bfloat16"))


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("dcgan", "pix2pix") else pytest.param(name, marks=pytest.mark.slow)
        for name in GAMES
    ],
)
def test_every_game_trains_channels_first(name):
    trains_on_its_own_draws(name, learning.Options(channels_last=False, grouped=True))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_grouped_modulation_is_the_same(up, demodulate):
    torch.manual_seed(0)
    x, weight, style = torch.randn(3, 5, 6, 7), torch.randn(4, 5, 3, 3), torch.rand(3, 5) + 0.5
    one, other = (modulated(x, weight, style, demodulate, up, grouped) for grouped in (False, True))
    assert one.shape == (3, 4, *((12, 14) if up else (6, 7)))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_the_low_pass_filter_is_three_means():
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64)
    np.testing.assert_allclose(
        _means(torch.nn.functional.pad(x, (2,) * 4), 1) * 4.0,
        blur(x, 2, 4.0),
        rtol=1e-12,
        atol=1e-14,
    )
    np.testing.assert_allclose(
        _means(torch.nn.functional.pad(x, (1,) * 4), 2), halve(x), rtol=1e-12, atol=1e-14
    )


def test_the_low_pass_filter_is_made_once():
    """On a GPU a copy for every blur would hold up all that follows."""
    x = torch.zeros(1, 3, 2, 2)
    np.testing.assert_array_equal(_filter(x, 4.0)[2, 0], np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16)
    assert _filter(x) is _filter(x)


def test_replay_pool_shows_older_images_half_of_the_time():
    pool = ReplayPool(4)
    shown = torch.cat(
        [pool.query(torch.full((2, 1, 1, 1), float(i))).flatten() for i in range(500)]
    )
    assert shown[:4].tolist() == [0, 0, 1, 1]
    assert len(pool.images) == 4
    fresh = (shown == torch.arange(500.0).repeat_interleave(2)).float().mean()
    assert 0.4 < fresh < 0.65


def test_kinds_of_rounds_are_weighted_as_they_occur():
    assert pytorch_cases.kinds(pytorch_cases.config_of("dcgan", 64)) == [(None, 1)]
    assert pytorch_cases.kinds(pytorch_cases.config_of("stylegan", 64)) == [
        (0, 1),
        (1, 12),
        (4, 3),
    ]


def test_how_threads_wait_is_a_side_of_its_own(monkeypatch):
    """Spinning, PyTorch's default, on a busy CPU is tens of times slower than asleep: such a ratio would say nothing of the libraries."""
    cases = {case.family: case for case in pytorch_cases.SUITES["cpu"]}
    assert against_pytorch.sides_of(cases["cgan"], "cpu", False) == [
        "jaxgan",
        "pytorch",
        "pytorch-spinning",
    ]
    assert "pytorch-grouped" not in against_pytorch.sides_of(cases["stylegan"], "cpu", True)
    assert "pytorch-spinning" not in against_pytorch.sides_of(cases["stylegan"], "cuda", True)
    policies = {}

    class Started:
        def __init__(self, command, *, env, **_):
            policies[command[3]] = env.get("OMP_WAIT_POLICY")
            self.stdout = io.StringIO('{"ready": {}}\n')

    monkeypatch.setattr(sides.subprocess, "Popen", Started)
    for side in ("jaxgan", "pytorch", "pytorch-spinning"):
        sides.Rival(side, cases["cgan"], "cpu", "float32")
    assert policies == {"jaxgan": "PASSIVE", "pytorch": "PASSIVE", "pytorch-spinning": None}


@pytest.mark.parametrize("family", list(GAMES))
def test_both_sides_have_as_many_parameters(family):
    """At the benchmark's own sizes, but for biases that a norm removes, which PyTorch's have."""
    config = pytorch_cases.config_of(family, 28 if family == "cgan" else 64)
    state = jax.eval_shape(lambda key: FAMILIES[family].init(config, key), jax.random.key(0))
    with torch.device("meta"):
        game = GAMES[family](config, learning.Options("meta"))
    for player, networks in game.networks.items():
        ours = sum(leaf.size for leaf in jax.tree.leaves(state.players[player].params))
        theirs = sum(
            value.numel() for network in networks.values() for value in network.parameters()
        )
        removed = sum(
            value.numel()
            for network in networks.values()
            for name, value in network.named_parameters()
            if name.endswith("bias")
        )
        assert theirs - (removed if family in ("cyclegan", "spade") else 0) <= ours <= theirs


def test_convolutions_of_a_step_are_found_and_counted():
    config = dataclasses.replace(TINY["dcgan"][0], stabilisers=Stabilisers())
    game = GAMES["dcgan"](config, learning.Options())
    layers = rivals.layers_of(
        game, tensors(random_batch(FAMILIES["dcgan"], config, 4, 0), learning.Options())
    )
    assert (
        sum(layer["count"] for layer in layers) == 3 + 3 * 3
    )  # one pass of the generator, three of the discriminator
    first = next(layer for layer in layers if not layer["transposed"])
    assert first == {
        "transposed": False,
        "x": [4, 2, 16, 24],
        "outputs": 4,
        "kernel": [4, 4],
        "stride": 2,
        "padding": 1,
        "output_padding": 0,
        "count": 3,
    }
    assert rivals.operations(first) == 2 * 4 * 2 * 4 * 16 * 8 * 12
    assert rivals.time_layer_theirs(first, 1, True, "cpu") > 0
    assert rivals.time_layer_ours(first, 1) > 0


@pytest.mark.slow
def test_sides_are_timed_in_turns_and_recorded(tmp_path):
    arguments = ["--families", "cgan", "--batch", "8", "--seconds", "0", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.against_pytorch", *arguments],
        cwd=record.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = map(json.loads, (tmp_path / "against_pytorch.jsonl").read_text().splitlines())
    assert line["name"] == "cgan-28-batch-8"
    assert line["sides"].keys() == {"jaxgan", "pytorch", "pytorch-spinning"}
    best = min(own["median_ms"] for side, own in line["sides"].items() if side != "jaxgan")
    assert line["sides"][line["fastest"]]["median_ms"] == best
    assert line["ratio"] == pytest.approx(best / line["sides"]["jaxgan"]["median_ms"], rel=0.01)
    assert line["provenance"]["torch"] == torch.__version__
    assert all(
        line[name] > 0 for name in ("flops", "bytes", "peak_flops_per_s", "peak_bytes_per_s")
    )
    assert line["name"] in done.stdout


@pytest.mark.slow
def test_processes_started_beside_each_other_are_timed_and_a_dead_one_is_left_out(
    tmp_path, capfd, monkeypatch
):
    """On a rented accelerator, one side that does not compile must not cost the measurement."""
    monkeypatch.setattr(
        against_pytorch, "sides_of", lambda *_: ["jaxgan", "pytorch", "no-such-side"]
    )
    options = [
        "--families",
        "cgan",
        "--batch",
        "4",
        "--seconds",
        "0.1",
        "--together",
        "2",
        "--out",
        str(tmp_path),
        "--trace",
        str(tmp_path / "trace"),
    ]
    against_pytorch.main(options)
    (line,) = record.read(tmp_path / "against_pytorch.jsonl")
    assert set(line["sides"]) == {"jaxgan", "pytorch"}
    assert line["together"] == 2
    assert line["left_out"] == ["no-such-side"]
    assert (
        "cgan-28-batch-4: left out: the process of no-such-side stopped" in capfd.readouterr().err
    )
    assert list((tmp_path / "trace" / "cgan-28-batch-4").glob("**/*.xplane.pb"))


def test_a_side_that_is_never_ready_is_ended(monkeypatch):
    monkeypatch.setattr(sides.sys, "executable", "/bin/cat")  # waits for its input, for ever
    monkeypatch.setattr(
        sides.subprocess,
        "Popen",
        lambda command, real=sides.subprocess.Popen, **options: real(command[:1], **options),
    )
    case = pytorch_cases.Case("cgan", 28, 4)
    with sides.started_together(
        [(case, ["jaxgan"], [(None, 1)])], "cpu", "float32", 0, 1, patience=0.5
    ) as found:
        assert found == {case: []}


def test_forms_of_pytorch_can_be_chosen(capsys):
    with pytest.raises(SystemExit):
        against_pytorch.main(["--families", "cgan", "--sides", "pytorch-contiguous"])
    assert "cgan-28-batch-100 has pytorch, pytorch-spinning here" in capsys.readouterr().err


@pytest.mark.slow
def test_convolutions_are_timed_alone_and_recorded(tmp_path, capsys):
    against_pytorch.main(
        ["--families", "dcgan", "--size", "32", "--batch", "2", "--profile", "--out", str(tmp_path)]
    )
    lines = [
        json.loads(line)
        for line in (tmp_path / "against_pytorch_layers.jsonl").read_text().splitlines()
    ]
    assert {line["name"] for line in lines} == {"dcgan-32-batch-2"}
    assert [line["difference_ms"] for line in lines] == sorted(
        (line["difference_ms"] for line in lines), reverse=True
    )
    first = next(line for line in lines if line["layer"] == "conv 4x4/2 3>64")
    assert (
        first["flops"] == 3 * 2 * 2 * 16 * 16 * 4 * 4 * 3 * 64
    )  # forward and both gradients, 16x16 pixels of two images, 48 products for each of 64
    assert first["jaxgan_flops_per_s"] == pytest.approx(1e3 * first["flops"] / first["jaxgan_ms"])
    assert first["provenance"]["torch"] == torch.__version__
    assert "upconv 4x4/2" in capsys.readouterr().out


def test_unknown_families_are_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        against_pytorch.main(["--families", "acgan"])
    assert (
        "there is no PyTorch side of acgan; there is one of cgan, cyclegan, dcgan"
        in capsys.readouterr().err
    )
