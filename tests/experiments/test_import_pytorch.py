"""`experiments.import_pytorch`: the reference's weights become runs that translate as the reference does, or one sentence says why not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import import_pytorch as command
from experiments import report, translate
from jaxgan import checkpoint
from jaxgan.convert.infer import Architecture
from jaxgan.errors import CheckpointError, RunError
from jaxgan.pictures.images import to_uint8
from jaxgan.records.rundir import RunDir

Arrays = dict[str, Any]
SMALL = ["--image-size", "32", "32"]


def golden_case(golden: Path, name: str) -> Arrays:
    with np.load(golden / f"{name}.npz") as file:
        return {
            key: np.moveaxis(file[key], -3, -1)
            if key.startswith("inputs/") or key == "outputs/y"
            else file[key]
            for key in file
        }


def part(case: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)
    }


def save(path: Path, arrays: Arrays) -> Path:
    """As the file's ending says."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".pth":
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, path)
    else:
        kinds, entries, body = {"float32": "F32", "int64": "I64"}, {}, b""
        for name, array in arrays.items():
            entries[name] = {
                "dtype": kinds[array.dtype.name],
                "shape": list(array.shape),
                "data_offsets": [len(body), len(body) + array.nbytes],
            }
            body += array.tobytes()
        header = json.dumps(entries).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


def imported(folder: Path, *arguments):
    """(family, config, translate(images, **options)) of a new run, made by the command."""
    command.main([str(arguments[0]), str(folder / "run"), *map(str, arguments[1:])])
    family, config, state = checkpoint.load(folder / "run")

    def translated(images, **options):
        with jax.default_matmul_precision("highest"):
            return np.asarray(
                jax.jit(lambda x: family.translate(config, state, x, **options))(images)
            )

    return family.__name__, config, translated


def assert_close(ours: np.ndarray, reference: np.ndarray) -> None:
    assert ours.shape == reference.shape
    assert np.max(np.abs(ours - reference)) <= 2e-4 * np.max(np.abs(reference))


# --------------------------------------------------------------------------------------------------------------- golden weights


@pytest.fixture(scope="module")
def pair(golden, tmp_path_factory):
    """The reference's CycleGAN as a run: (folder, golden case, translate). The second file is found beside the first."""
    folder, case = tmp_path_factory.mktemp("pair"), golden_case(golden, "cyclegan_train")
    for side in "AB":
        save(folder / f"latest_net_G_{side}.safetensors", part(case, f"weights/G_{side}/"))
    family, config, translated = imported(folder, folder / "latest_net_G_A.safetensors", *SMALL)
    assert family == "jaxgan.families.cyclegan"
    assert (
        config.generator,
        config.generator_width,
        config.blocks,
        config.norm,
        config.image_size,
    ) == ("resnet", 8, 6, "instance", (32, 32))
    assert (config.channels_a, config.channels_b, config.dropout, config.translation_dropout) == (
        3,
        3,
        0.0,
        False,
    )
    return folder, case, translated


def test_cyclegan_translates_both_ways_as_the_reference(pair):
    """The reference's own losses at its first step, before any update, are distances between images that were translated there and back."""
    _, case, translated = pair
    a, b = (case[f"inputs/{domain}"][0] for domain in "AB")
    images = np.concatenate([a, b])
    (fake_b, same_b), (same_a, fake_a) = translated(images), translated(images, direction="b2a")
    distances = {
        "idt_A": 5 * np.abs(same_b - b[0]).mean(),
        "idt_B": 5 * np.abs(same_a - a[0]).mean(),
    }
    distances["cycle_A"] = 10 * np.abs(translated(fake_b[None], direction="b2a") - a).mean()
    distances["cycle_B"] = 10 * np.abs(translated(fake_a[None]) - b).mean()
    for name, distance in distances.items():
        np.testing.assert_allclose(distance, case[f"outputs/loss/{name}"][0], rtol=2e-5)


def test_the_run_records_where_it_is_from(pair):
    folder, _, _ = pair
    expected = {
        direction: {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for direction, file in (
            ("a2b", folder / "latest_net_G_A.safetensors"),
            ("b2a", folder / "latest_net_G_B.safetensors"),
        )
    }
    config = json.loads((folder / "run" / "config.json").read_text())
    assert (config["format"], config["family"], config["imported"]) == (
        1,
        "jaxgan.families.cyclegan",
        expected,
    )
    meta = json.loads((folder / "run" / "checkpoints" / "0" / "meta" / "metadata").read_text())
    assert (meta["images"], meta["imported"], meta["config"]) == (0, expected, config["config"])


def test_translate_and_report_take_the_run(pair, capsys):
    folder, _, translated = pair
    inputs = np.random.default_rng(0).integers(0, 256, (2, 24, 36, 3)).astype(np.uint8)
    (folder / "in").mkdir()
    for i, pixels in enumerate(inputs):
        Image.fromarray(pixels).save(folder / "in" / f"{i}.png")
    with jax.default_matmul_precision("highest"):
        translate.main(
            [str(folder / "run"), str(folder / "in"), str(folder / "out"), "--direction", "b2a"]
        )
    expected = to_uint8(translated(inputs.astype(np.float32) / 127.5 - 1, direction="b2a"))
    for i, pixels in enumerate(expected):
        written = np.asarray(Image.open(folder / "out" / f"{i}.png"))
        assert np.max(np.abs(written.astype(int) - pixels)) <= 1  # of 255, by rounding
    assert report.main([str(folder / "run")]) == 0
    assert "latest_net_G_B.safetensors" in (folder / "run" / "report.html").read_text()


def test_a_resnet_alone(golden, tmp_path, capsys):
    case = golden_case(golden, "cyclegan_resnet_generator")
    weights = {f"module.{name}": array for name, array in part(case, "weights/").items()}
    weights["module.model.2.running_mean"] = weights["module.model.2.running_var"] = np.ones(
        8, np.float32
    )  # as before PyTorch 0.4
    family, config, translated = imported(
        tmp_path, save(tmp_path / "latest_net_G.npz", weights), *SMALL
    )
    assert (family, config.direction, config.generator, config.blocks) == (
        "jaxgan.families.pix2pix",
        "a2b",
        "resnet",
        3,
    )
    assert (config.dropout, config.translation_dropout) == (0.0, False)
    assert_close(translated(case["inputs/x"]), case["outputs/y"])
    assert "resnet of width 8, 3 blocks, 3 -> 3 channels, instance norm" in capsys.readouterr().out


def test_a_unet_by_running_statistics(golden, tmp_path):
    case = golden_case(golden, "pix2pix_unet_generator_eval")
    file = save(tmp_path / "latest_net_G.pth", part(case, "weights/"))
    _, config, translated = imported(tmp_path, file, *SMALL, "--direction", "b2a", "--eval")
    assert (config.generator, config.depth, config.norm, config.statistics, config.direction) == (
        "unet",
        5,
        "batch",
        "running",
        "b2a",
    )
    assert_close(translated(case["inputs/x"]), case["outputs/y"])


def test_a_unet_by_the_statistics_of_each_image(golden, tmp_path):
    """By default, as the reference's test script: in training mode, one image at a time. (A U-Net of five layers has no dropout there.)"""
    torch = pytest.importorskip("torch")
    from benchmarks.torch_models import translation_networks

    weights = part(golden_case(golden, "pix2pix_unet_generator_eval"), "weights/")
    family, config, translated = imported(
        tmp_path, save(tmp_path / "latest_net_G.npz", weights), *SMALL
    )
    assert (family, config.statistics, config.translation_dropout) == (
        "jaxgan.families.pix2pix",
        "image",
        False,
    )
    theirs = translation_networks.UNet(3, 3, 8, 5, "batch").train()
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    images = np.random.default_rng(0).standard_normal((2, 32, 64, 3), np.float32)
    with torch.no_grad():
        expected = np.concatenate(
            [
                theirs(torch.from_numpy(np.moveaxis(image[None], -1, 1).copy())).numpy()
                for image in images
            ]
        )
    assert_close(translated(images), np.moveaxis(expected, 1, -1))


def test_half_a_cyclegan_of_unequal_channels(tmp_path):
    """Generator B alone, with dropout in its blocks and batch norm, on images of 4 channels."""
    torch = pytest.importorskip("torch")
    from benchmarks.torch_models import translation_networks

    torch.manual_seed(0)
    theirs = translation_networks.ResNetTranslator(4, 1, 3, 1, "batch", 0.5)
    file = tmp_path / "5_net_G_B.pth"
    torch.save(theirs.state_dict(), file)
    _, config, translated = imported(tmp_path, file, "--eval")
    assert (
        config.direction,
        config.channels_a,
        config.channels_b,
        config.dropout,
        config.translation_dropout,
    ) == ("b2a", 1, 4, 0.5, False)
    images = np.random.default_rng(0).standard_normal((2, 12, 8, 4), np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(np.moveaxis(images, -1, 1).copy())).numpy()
    assert_close(translated(images), np.moveaxis(expected, 1, -1))


# ------------------------------------------------------------------------------------------------------------------ the config


def unet(depth, norm="batch"):
    return Architecture("unet", 64, 3, 1, norm, depth=depth)


def resnet(inputs=3, outputs=3, norm="instance", dropout=False):
    return Architecture("resnet", 64, inputs, outputs, norm, blocks=9, dropout=dropout)


def config_of(found, name="latest_net_G.pth", direction="a2b", **options):
    source = command.Source(Path(name), found, {})
    return command.pix2pix_run(
        {direction: source}, command.Options(Path(name), Path("run"), **options)
    )[1]


@pytest.mark.parametrize(
    ("config", "dropout", "stays"),
    [
        (config_of(unet(8)), 0.5, True),
        (config_of(unet(8), eval=True), 0.5, False),
        (config_of(unet(8), no_dropout=True), 0.0, False),
        (config_of(unet(8), name="latest_net_G_A.pth"), 0.0, False),
        (config_of(unet(7), image_size=(128, 128)), 0.5, True),
        (config_of(unet(5), image_size=(32, 32)), 0.0, False),
        (config_of(resnet()), 0.0, False),
        (config_of(resnet(dropout=True)), 0.5, True),
        (config_of(resnet(dropout=True), eval=True), 0.5, False),
    ],
)
def test_dropout_is_where_the_reference_has_it(config, dropout, stays):
    assert (config.dropout, config.translation_dropout) == (dropout, stays)


def test_a_unet_in_the_manner_of_the_reference():
    config = config_of(unet(8), direction="b2a")
    assert (config.dropout_layers, config.statistics, config.norm, config.depth) == (
        "port",
        "image",
        "batch",
        8,
    )
    assert (config.channels_a, config.channels_b) == (1, 3)


def test_only_batch_norm_has_running_statistics():
    assert config_of(resnet(), eval=True).statistics == "image"
    assert config_of(resnet(norm="batch"), eval=True).statistics == "running"


def pair_of(there, back, **options):
    sources = {
        "a2b": command.Source(Path("A"), there, {}),
        "b2a": command.Source(Path("B"), back, {}),
    }
    return command.cyclegan_run(sources, command.Options(Path("A"), Path("run"), **options))[1]


def test_a_cyclegan_of_unequal_channels():
    config = pair_of(resnet(3, 1, dropout=True), resnet(1, 3, dropout=True))
    assert (config.channels_a, config.channels_b, config.identity_weight) == (3, 1, 0.0)
    assert (config.dropout, config.translation_dropout) == (0.5, True)


def test_generators_that_do_not_go_together():
    for back in (resnet(3, 3), resnet(1, 3, norm="batch"), unet(8)):
        with pytest.raises(
            ValueError, match=r"A is resnet of .* and B is .*, not the same the other way round"
        ):
            pair_of(resnet(3, 1), back)


# ------------------------------------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (
            ["latest_net_G_A.pth", "latest_net_G_B.pth"],
            {},
            {"a2b": "latest_net_G_A.pth", "b2a": "latest_net_G_B.pth"},
        ),
        (
            ["latest_net_G_B.pth", "latest_net_G_A.pth"],
            {},
            {"a2b": "latest_net_G_A.pth", "b2a": "latest_net_G_B.pth"},
        ),
        (["net_G_B.pt", "5_net_G_A.pt"], {}, {"b2a": "net_G_B.pt"}),
        (["5_net_G_A.npz"], {}, {"a2b": "5_net_G_A.npz"}),
        (
            ["latest_net_G_B.pth", "latest_net_G_A.pth"],
            {"direction": "a2b"},
            {"a2b": "latest_net_G_B.pth"},
        ),
        (["latest_net_G.pth", "latest_net_G_A.pth"], {}, {"a2b": "latest_net_G.pth"}),
        (["horse2zebra.pth"], {"direction": "b2a"}, {"b2a": "horse2zebra.pth"}),
        (
            ["horse2zebra.pth", "zebra2horse.pth"],
            {"other": "zebra2horse.pth"},
            {"a2b": "horse2zebra.pth", "b2a": "zebra2horse.pth"},
        ),
        (["1_net_G_B.pth", "x.pth"], {"other": "x.pth"}, {"a2b": "x.pth", "b2a": "1_net_G_B.pth"}),
        (
            ["x.pth", "2_net_G_A.pth"],
            {"other": "2_net_G_A.pth"},
            {"a2b": "2_net_G_A.pth", "b2a": "x.pth"},
        ),
    ],
)
def test_which_files_are_read(tmp_path, names, options, expected):
    for name in names:
        (tmp_path / name).touch()
    given = {**options, **({"other": tmp_path / options["other"]} if "other" in options else {})}
    found = command.find(command.Options(tmp_path / names[0], tmp_path / "run", **given))
    assert {direction: file.name for direction, file in found.items()} == expected


# ------------------------------------------------------------------------------------------------------------------- refusals


def refused(capsys, *arguments) -> str:
    """The sentence that the command ends with."""
    with pytest.raises(SystemExit) as end:
        command.main([*map(str, arguments)])
    message = capsys.readouterr().err
    assert end.value.code == 2
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def test_one_sentence_for_what_cannot_be(tmp_path, capsys):
    run, weights = tmp_path / "run", tmp_path / "latest_net_G.npz"
    np.savez(weights, **{"conv.weight": np.zeros((2, 2), np.float32)})
    assert "there is no file" in refused(capsys, tmp_path / "latest_net_G_A.pth", run)
    message = refused(capsys, weights, run)
    assert str(weights) in message
    assert "known are those of ResnetGenerator and UnetGenerator" in message
    assert "--direction takes FILE alone" in refused(
        capsys, weights, run, "--other", weights, "--direction", "a2b"
    )
    assert "are the same direction" in refused(capsys, weights, run, "--other", weights)
    assert "are the same direction" in refused(
        capsys, tmp_path / "1_net_G_A.pth", run, "--other", tmp_path / "2_net_G_A.pth"
    )
    assert not run.exists()


def test_a_run_that_is_there_is_left_alone(tmp_path, capsys):
    run, weights = tmp_path / "run", tmp_path / "latest_net_G.npz"
    run.mkdir()
    (run / "config.json").write_text("{}")
    assert f"{run} is not empty" in refused(capsys, weights, run)
    assert (run / "config.json").read_text() == "{}"
    (tmp_path / "file").touch()
    assert "is a file" in refused(capsys, weights, tmp_path / "file")


def test_settings_that_cannot_be(tmp_path, capsys, golden):
    weights = part(golden_case(golden, "pix2pix_unet_generator_eval"), "weights/")
    file = save(tmp_path / "latest_net_G.npz", weights)
    assert "image_size must be multiples of 32 for this unet generator, got (40, 40)" in refused(
        capsys, file, tmp_path / "run", "--image-size", "40", "40"
    )
    save(file, {**weights, "model.model.1.model.1.weight": weights["model.model.0.weight"]})
    assert "model.model.1.model.1.weight is (8, 3, 4, 4), should be (16, 8, 4, 4)" in refused(
        capsys, file, tmp_path / "run", *SMALL
    )
    resnet = save(
        tmp_path / "b_net_G.npz", part(golden_case(golden, "cyclegan_resnet_generator"), "weights/")
    )
    assert "--no-dropout is for a U-Net" in refused(
        capsys, resnet, tmp_path / "run", "--no-dropout"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path, capsys, golden, monkeypatch):
    file = save(
        tmp_path / "latest_net_G.npz",
        part(golden_case(golden, "cyclegan_resnet_generator"), "weights/"),
    )

    def full(*arguments):
        raise CheckpointError("the disk is full: free space")

    monkeypatch.setattr(checkpoint.Checkpoints, "save", full)
    assert "the disk is full" in refused(capsys, file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_starts_from_an_import_but_not_in_it(tmp_path, golden):
    """The generators are the imported ones, critics and optimisers fresh, and no buffer is shared; in the run itself there is nothing to go on from."""
    case = golden_case(golden, "cyclegan_train")
    for letter in "AB":
        save(tmp_path / f"latest_net_G_{letter}.npz", part(case, f"weights/G_{letter}/"))
    imported(tmp_path, tmp_path / "latest_net_G_A.npz", *SMALL)
    family, config, source = checkpoint.load(tmp_path / "run")
    fresh = jax.jit(family.init, static_argnums=0)(config, jax.random.key(0))
    state = checkpoint.initialise_from(tmp_path / "run", fresh)
    jax.tree.map(
        np.testing.assert_array_equal, state.players["generator"].params, source.ema["params"]
    )
    jax.tree.map(np.testing.assert_array_equal, state.ema, source.ema)
    jax.tree.map(
        np.testing.assert_array_equal,
        state.players["discriminator"],
        fresh.players["discriminator"],
    )
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state) if leaf.size]
    assert len(set(pointers)) == len(pointers)
    with (
        RunDir(tmp_path / "run") as run,
        pytest.raises(
            RunError,
            match="imported networks without discriminators: train in another run directory",
        ),
    ):
        run.settle_config({"family": family.__name__, "fingerprint": ""})
