"""The shared command line: defaults come from the preset, flags change them, and what a user gets wrong ends with one sentence."""

from __future__ import annotations

import dataclasses
import inspect
import types

import jax
import numpy as np
import pytest

import jaxgan.data
from experiments.support import common
from jaxgan.data import Augment
from jaxgan.errors import DataError, require
from jaxgan.optim import Optimizer
from tests import tiny_family


@dataclasses.dataclass(frozen=True)
class Stabilisers:
    critic_steps: int = 1
    """Critic updates per round."""
    ema_half_life: float = 0.0


OPTIMIZER = Optimizer()


@dataclasses.dataclass(frozen=True)
class Config(tiny_family.Config):
    latent_size: int = 8
    """Numbers a generator starts from."""
    classes: int = 10
    generator_optimizer: Optimizer = OPTIMIZER
    stabilisers: Stabilisers = Stabilisers()

    def __post_init__(self):
        require(self.latent_size > 0, f"latent_size must be at least 1, got {self.latent_size}")


@dataclasses.dataclass(frozen=True)
class TwoSided:
    """The fields of a family that translates."""

    image_size: tuple[int, int] = (256, 256)
    channels_a: int = 3
    channels_b: int = 3

    def __post_init__(self):
        height, width = self.image_size
        require(
            height % 4 == width % 4 == 0, f"image_size must be multiples of 4, got {height}x{width}"
        )


FLIP = Augment(flip=True, scale=0.5)
PRESETS = {
    "digits": common.Preset(Config(), "digits", images=10_000, batch_size=64, steps_per_call=10),
    "mnist": common.Preset(
        Config(width=99, stabilisers=Stabilisers(critic_steps=5)),
        "tfds:mnist",
        images=50_000,
        augment=FLIP,
        image_size=(28, 28),
    ),
}
JITTER = Augment(flip=True, crop=30)
MAPS = {
    "maps": common.Preset(
        TwoSided(),
        "paired:maps",
        images=100,
        batch_size=1,
        augment=JITTER,
        image_size=(256, 256),
        resize="stretch",
    )
}


def parse(*arguments):
    return common.parse(tiny_family, PRESETS, tiny_family.__doc__, arguments)


def test_the_first_preset_is_the_default():
    preset, options, config = parse()
    assert preset is PRESETS["digits"]
    assert config == Config()
    assert (
        options.preset,
        options.data,
        options.images,
        options.batch_size,
        options.steps_per_call,
    ) == ("digits", "digits", 10_000, 64, 10)
    assert options.run == "runs/tiny_family-digits"


@pytest.mark.parametrize("spelling", [("--preset", "mnist"), ("--preset=mnist",)])
def test_a_preset_gives_every_default_and_flags_change_them(spelling):
    flags = (
        "--images",
        "5000",
        "--no-flip",
        "--config.latent-size",
        "64",
        "--config.stabilisers.ema-half-life",
        "1e4",
    )
    preset, options, config = parse(*flags, *spelling, "--config.generator-optimizer.beta1", "0")
    assert preset is PRESETS["mnist"]
    assert (options.data, options.images, options.flip, options.run) == (
        "tfds:mnist",
        5000,
        False,
        "runs/tiny_family-mnist",
    )
    assert (options.zoom, options.crop, options.resize) == (0.5, 0, "cover")
    expected = Config(
        width=99,
        latent_size=64,
        generator_optimizer=Optimizer(beta1=0.0),
        stabilisers=Stabilisers(5, 1e4),
    )
    assert config == expected


def test_help_shows_presets_and_nested_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    shown = (
        "--preset {digits,mnist}",
        "--config.stabilisers.critic-steps",
        "Critic updates per round.",
        "Mirror images",
        "smallest whole family",
    )
    assert [part for part in shown if part not in text] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "cats"), "'mnist'"),
        (("--config.latentsize", "3"), "--config.latent-size"),
        (("--config.latent-size", "0"), "latent_size must be at least 1, got 0"),
        (("--images", "many"), "--images"),
    ],
)
def test_what_cannot_be_parsed_ends_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(*arguments)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err


@pytest.mark.parametrize(
    "words", [["fid", "kid", "precision"], ["fid,kid,precision"], ["fid,", "kid", ",precision"]]
)
def test_metrics_are_named_with_commas_or_blanks(words):
    assert parse("--metrics", *words)[1].metrics == ("fid", "kid", "precision")


def test_given_knows_both_spellings():
    assert common.given(["--config.image-size", "8", "8"], "config.image-size")
    assert common.given(["--config.image_size=8"], "config.image-size")
    assert not common.given(["--config.image-sizes", "8"], "config.image-size")


def test_counts_not_given_are_rounded_up_to_whole_calls():
    _, options, config = parse()  # a call is 10 steps x 64 images = 640
    options = common.whole_calls(options, config, [])
    assert options.images == 16 * 640  # 10,000 rounded up
    assert (options.log_every, options.sample_every, options.checkpoint_every) == (640, 640, 1280)
    config = dataclasses.replace(
        config, stabilisers=Stabilisers(critic_steps=2)
    )  # a call is 1,280 images
    assert common.whole_calls(options, config, []).images == 8 * 1280
    long = common.whole_calls(
        dataclasses.replace(
            options, images=25_000_000, log_every=0, sample_every=0, checkpoint_every=0
        ),
        Config(),
        [],
    )
    assert (long.log_every, long.sample_every, long.checkpoint_every) == (
        16 * 640,
        157 * 640,
        313 * 640,
    )  # not 50,000 and 2,500,000


def test_counts_given_are_left_for_training_to_judge():
    arguments = ["--images", "1000", "--sample-every", "300"]
    _, options, config = parse(*arguments)
    options = common.whole_calls(options, config, arguments)
    assert (options.images, options.sample_every, options.log_every) == (1000, 300, 640)


@pytest.mark.parametrize("flag", ["--batch-size", "--images"])
def test_counts_below_one_are_refused(flag):
    _, options, config = parse(flag, "0")
    with pytest.raises(ValueError, match=f"{flag}.*must be at least 1"):
        common.whole_calls(options, config, [flag, "0"])


# ---------------------------------------------------------------------------------------------------------------------- data


@pytest.fixture
def opened(monkeypatch):
    """Replaces `jaxgan.data.open` by a set of 12x20 RGB images in 3 classes, or with sides of 3 and 1 channels; what it was called with."""
    calls = []

    def fake_open(spec, **options):
        calls.append((spec, options))
        size = options["image_size"] or (12, 20)
        if "paired" in spec:
            channels = options["channels"] or (3, 1)
            return types.SimpleNamespace(
                image_size=size,
                arrays={side: np.zeros((7, *size, n)) for side, n in zip("ab", channels)},
                classes=(),
                size=7,
            )
        return types.SimpleNamespace(
            image_size=size, channels=options["channels"] or 3, classes=("a", "b", "c"), size=7
        )

    monkeypatch.setattr("jaxgan.data.open", fake_open)
    return calls


def test_the_data_decides_shapes(opened):
    preset, options, config = parse("--data", "folder:x", "--skip-bad")
    _, config, _ = common.prepare(preset, options, config, [])
    assert (config.image_size, config.channels, config.classes) == ((12, 20), 3, 3)
    assert opened == [
        (
            "folder:x",
            {
                "image_size": None,
                "channels": None,
                "resize": "cover",
                "skip_bad": True,
                "stream": False,
            },
        )
    ]


def test_an_unconditional_config_stays_unconditional(opened):
    preset, options, config = parse("--config.classes", "0")
    assert common.prepare(preset, options, config, [])[1].classes == 0


def test_a_preset_or_a_flag_decides_the_size_the_data_is_opened_at(opened):
    preset, options, config = parse("--preset", "mnist")
    _, config, _ = common.prepare(preset, options, config, [])
    assert (config.image_size, opened[-1][1]["image_size"]) == ((28, 28), (28, 28))
    arguments = [
        "--preset",
        "mnist",
        "--config.image-size",
        "16",
        "24",
        "--config.channels",
        "1",
        "--config.classes",
        "5",
    ]
    preset, options, config = parse(*arguments)
    _, config, _ = common.prepare(preset, options, config, arguments)
    assert (config.image_size, config.channels, config.classes) == ((16, 24), 1, 5)
    assert opened[-1] == (
        "tfds:mnist",
        {
            "image_size": (16, 24),
            "channels": 1,
            "resize": "cover",
            "skip_bad": False,
            "stream": False,
        },
    )


def prepare_maps(*arguments, presets=MAPS):
    """(image_size, channels_a, channels_b) of the config that training gets."""
    preset, options, config = common.parse(tiny_family, presets, None, arguments)
    _, config, _ = common.prepare(preset, options, config, arguments)
    return config.image_size, config.channels_a, config.channels_b


def test_data_is_opened_with_the_margin_of_the_crop(opened):
    assert prepare_maps() == ((256, 256), 3, 1)
    assert opened[-1] == (
        "paired:maps",
        {
            "image_size": (286, 286),
            "channels": None,
            "resize": "stretch",
            "skip_bad": False,
            "stream": False,
        },
    )
    assert prepare_maps(
        "--config.image-size",
        "64",
        "32",
        "--crop",
        "4",
        "--resize",
        "width",
        "--config.channels-b",
        "1",
    ) == ((64, 32), 3, 1)
    assert opened[-1][1] == {
        "image_size": (68, 36),
        "channels": (3, 1),
        "resize": "width",
        "skip_bad": False,
        "stream": False,
    }
    own = {"maps": dataclasses.replace(MAPS["maps"], image_size=None)}
    assert prepare_maps(presets=own) == (
        (12, 20),
        3,
        1,
    )  # nobody knows a size: the data's, enlarged while training
    assert opened[-1][1]["image_size"] is None


def test_images_as_they_are(opened):
    """At the network's size plus the margin, at the network's own, or what the flag says, for `jaxgan.data.check` to judge."""
    assert prepare_maps("--resize", "none") == ((12, 20), 3, 1)
    assert opened[-1][1] == {
        "image_size": None,
        "channels": None,
        "resize": "cover",
        "skip_bad": False,
        "stream": False,
    }
    assert prepare_maps("--resize", "none", "--config.image-size", "8", "16", "--crop", "4")[0] == (
        8,
        16,
    )
    assert prepare_maps("--resize", "none", "--config.image-size", "8", "8", "--crop", "4")[0] == (
        8,
        8,
    )
    fitting = {"maps": dataclasses.replace(MAPS["maps"], image_size=(8, 16))}
    assert prepare_maps("--resize", "none", "--crop", "4", presets=fitting)[0] == (8, 16)


def test_data_of_a_size_the_network_cannot_have_is_refused_in_its_words(opened, capsys):
    odd = {"maps": dataclasses.replace(MAPS["maps"], image_size=(30, 32))}
    with pytest.raises(SystemExit) as stop:
        common.main(tiny_family, odd, None, [])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: image_size must be multiples of 4, got 30x32\n"


def test_wrong_augmentation_is_refused_before_the_data_is_opened(opened):
    preset, options, config = parse("--zoom", "-1")
    with pytest.raises(ValueError, match=r"scale \(zoom\) must be at least 0, got -1"):
        common.prepare(preset, options, config, [])
    assert opened == []


def test_options_reach_training_as_it_names_them(monkeypatch, opened):
    import jaxgan.train

    signature, received = inspect.signature(jaxgan.train.run), {}
    monkeypatch.setattr(
        "jaxgan.train.run",
        lambda *args, **kwargs: received.update(signature.bind(*args, **kwargs).arguments),
    )
    flags = ("--flip", "--crop", "2", "--rotate90", "--rotation", "5", "--zoom", "0.1")
    arguments = [
        *flags,
        "--seed",
        "3",
        "--keep",
        "5",
        "--parallel",
        "pmap",
        "--run",
        "somewhere",
        "--batch-size",
        "8",
        "--init-from",
        "other",
    ]
    common.main(tiny_family, PRESETS, None, arguments)
    assert (
        received["seed"],
        received["keep"],
        received["parallel"],
        received["batch_size"],
        received["steps_per_call"],
    ) == (3, 5, "pmap", 8, 10)
    assert received["images"] == 125 * 80
    assert received["augment"] == Augment(flip=True, crop=2, rotate90=True, rotation=5.0, scale=0.1)
    assert received["family"] is tiny_family
    assert str(received["run_dir"]) == "somewhere"
    assert str(received["init_from"]) == "other"


# -------------------------------------------------------------------------------------------------------------------- errors


def fail_with(error):
    with common.one_sentence_errors():
        raise error


def test_errors_of_the_project_become_one_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        fail_with(DataError("there is no folder x: name one that exists"))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: there is no folder x: name one that exists\n"
    with pytest.raises(SystemExit) as stop, common.one_sentence_errors():
        require(False, "batch size must be at least 1")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: batch size must be at least 1\n"


def test_errors_of_others_keep_their_traceback():
    with pytest.raises(ValueError, match="could not be broadcast"), common.one_sentence_errors():
        np.add(np.zeros(3), np.zeros(2))
    with pytest.raises(TypeError), common.one_sentence_errors():
        len(3)


def test_ctrl_c_is_quiet(capsys):
    with pytest.raises(SystemExit) as stop:
        fail_with(KeyboardInterrupt())
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


# ------------------------------------------------------------------------------------------------------------ several processes


def test_processes_connect_before_anything_else(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    common.connect(common.Options())
    assert calls == []
    common.connect(common.Options(distributed=True))
    common.connect(
        common.Options(distributed=True, coordinator="host:1234", process_id=0, processes=2)
    )
    assert calls == [
        {"coordinator_address": None, "num_processes": None, "process_id": None},
        {"coordinator_address": "host:1234", "num_processes": 2, "process_id": 0},
    ]


def test_process_settings_without_distributed_are_refused():
    with pytest.raises(ValueError, match="only with --distributed"):
        common.connect(common.Options(process_id=0))


def test_the_compilation_cache_is_set(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        common.connect(common.Options(compilation_cache=str(tmp_path)))
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@dataclasses.dataclass(frozen=True)
class Painted:
    """The fields of a family that starts from label maps."""

    image_size: tuple[int, int] = (256, 256)
    channels: int = 3
    classes: int = 150
    unknown: bool = True
    instance_edges: bool = False


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), (4, 6, 2, False, True)),
        (("--config.unknown",), (4, 6, 2, True, True)),
        (("--config.no-instance-edges", "--config.no_unknown"), (4, 6, 2, False, False)),
        (("--config.classes", "5"), (4, 6, 5, False, True)),
    ],
)
def test_label_maps_decide_classes_unknown_and_instances(monkeypatch, flags, expected):
    maps = np.arange(48).reshape(2, 4, 6) % 2
    dataset = jaxgan.data.from_layouts(
        "maps", np.zeros((2, 4, 6, 3), np.uint8), maps, ("a", "b"), maps
    )
    monkeypatch.setattr("jaxgan.data.open", lambda *_, **__: dataset)
    presets = {"maps": common.Preset(Painted(), "layout:maps", images=100)}
    preset, options, config = common.parse(
        types.SimpleNamespace(__name__="x.spade"), presets, "", flags
    )
    found = common.prepare(preset, options, config, flags)[1]
    assert (*found.image_size, found.classes, found.unknown, found.instance_edges) == expected
