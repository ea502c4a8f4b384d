"""Checkpoints: exact, atomic, checked; every kind of damage is seen and named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import gan, parallel
from jaxgan.errors import CheckpointError
from jaxgan.records import checkpoint
from jaxgan.records.checkpoint import Checkpoints, CheckpointWarning
from jaxgan.records.config_io import to_dict
from tests import tiny_family

CONFIG = tiny_family.Config()
META = {"family": tiny_family.__name__, "config": to_dict(CONFIG), "seed": 0, "attempt": 0}


def state_at(images, config=CONFIG):
    state = jax.jit(tiny_family.init, static_argnums=0)(config, jax.random.key(images))
    return state.replace(step=jnp.int32(images // 8), images=jnp.int32(images))


def abstract(config=CONFIG):
    return jax.eval_shape(partial(tiny_family.init, config), jax.random.key(0))


def save(directory, *numbers, keep=3):
    with Checkpoints(directory, keep=keep) as checkpoints:
        for number in numbers:
            state = state_at(number)
            checkpoints.save(state, checkpoint.sampler(state), META)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def restore(directory):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore(abstract())


def test_round_trip_is_bitwise_and_keeps_the_newest(tmp_path):
    save(tmp_path, 8, 16, 24, 32, keep=2)
    state, meta = restore(tmp_path)
    assert_equal(state, state_at(32))
    assert Checkpoints(tmp_path).steps == [24, 32]
    assert (meta["images"], meta["step"], meta["family"], meta["format"]) == (
        32,
        4,
        tiny_family.__name__,
        1,
    )
    assert meta["versions"]["jax"] == jax.__version__
    assert meta["leaves"]["sampler"]["ema/params/hidden"][:2] == ["float32", [3, 8]]


def test_bfloat16_and_empty_collections_survive(tmp_path):
    state = state_at(8).replace(extra={"pool": jnp.arange(3, dtype=jnp.bfloat16), "none": {}})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, checkpoint.sampler(state), META)
        checkpoints.wait()
        again, _ = checkpoints.restore(jax.eval_shape(lambda: state))
    assert_equal(again, state)


def test_nothing_there(tmp_path):
    assert restore(tmp_path / "absent") is None
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.load(tmp_path, family=tiny_family)


def test_protected_numbers_stay(tmp_path):
    with Checkpoints(tmp_path, keep=1, protected=(8,)) as checkpoints:
        for number in (8, 16, 24, 32):
            state = state_at(number)
            checkpoints.save(state, checkpoint.sampler(state), META)
            if number == 16:
                checkpoints.protect(16)
    assert Checkpoints(tmp_path).steps == [8, 16, 32]


def test_same_number_twice_is_an_error(tmp_path):
    save(tmp_path, 8)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 8 was not saved, as .* already holds \[8\]"
    ):
        save(tmp_path, 8)


def test_saved_state_may_be_donated_at_once(tmp_path):
    step = parallel.jit_step(tiny_family, CONFIG)
    batch = {"image": np.ones((8, 4, 4, 1), np.float32)}
    state, expected = state_at(8), jax.device_get(state_at(8))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, checkpoint.sampler(state), META)
        for _ in range(5):
            state, _ = step(state, batch, jax.random.key(0))
    assert_equal(restore(tmp_path)[0], expected)


@pytest.mark.parametrize("kind", ["jit", "mesh", "pmap"])
def test_restored_state_feeds_every_mapping(tmp_path, kind):
    mesh = parallel.data_mesh(jax.devices()[:4])
    make = {
        "jit": lambda: parallel.jit_step(tiny_family, CONFIG),
        "mesh": lambda: parallel.jit_step(tiny_family, CONFIG, mesh),
        "pmap": lambda: parallel.pmap_step(tiny_family, CONFIG, jax.devices()[:4]),
    }[kind]
    batch = {"image": np.random.default_rng(0).uniform(-1, 1, (8, 4, 4, 1)).astype(np.float32)}
    trained, _ = make()(state_at(8), batch, jax.random.key(1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(trained, checkpoint.sampler(trained), META)
        checkpoints.wait()
        place = (lambda tree: parallel.replicate(tree, mesh)) if kind == "mesh" else None
        again, _ = checkpoints.restore(abstract(), place)
    assert_equal(jax.device_get(again), jax.device_get(trained))
    a, b = make()(trained, batch, jax.random.key(1)), make()(again, batch, jax.random.key(1))
    assert_equal(jax.device_get(a), jax.device_get(b))


def test_load_needs_only_the_run(tmp_path):
    save(tmp_path / "checkpoints", 8, 16)
    family, config, state = checkpoint.load(tmp_path, family=tiny_family)
    assert family is tiny_family
    assert config == CONFIG
    assert state.players == {}
    assert int(state.images) == 16
    key = jax.random.key(5)
    np.testing.assert_array_equal(
        family.sample(config, state, key, 3), family.sample(config, state_at(16), key, 3)
    )


def test_load_passes_over_damage_without_renaming(tmp_path):
    save(tmp_path / "checkpoints", 8, 16)
    shutil.rmtree(tmp_path / "checkpoints" / "16" / "sampler")
    with pytest.warns(
        CheckpointWarning, match=r"checkpoint 16 .* item sampler is missing; left in place"
    ):
        assert int(checkpoint.load(tmp_path, family=tiny_family)[2].images) == 8
    assert (tmp_path / "checkpoints" / "16").is_dir()


# ----------------------------------------------------------------------------------------------------------------------- damage


def biggest(folder: Path) -> Path:
    return max(
        (file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )


def flip(file: Path, position: float = 0.5) -> None:
    content = bytearray(file.read_bytes())
    content[int(len(content) * position)] ^= 0x10
    file.write_bytes(content)


def test_flipped_byte_of_a_leaf_is_named(tmp_path):
    """The damage that Orbax does not see: one bit of one parameter. Written uncompressed, so that it decodes."""
    import orbax.checkpoint as ocp

    save(tmp_path, 8, 16)
    state = jax.device_get(state_at(16))
    hidden = np.array(state.players["generator"].params["hidden"])
    hidden.view(np.uint8)[0, 0] ^= 1
    state.players["generator"].params["hidden"] = hidden
    shutil.rmtree(tmp_path / "16" / "state")
    (tmp_path / "16" / "files.json").unlink()
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "16" / "state", state)
    with pytest.warns(
        CheckpointWarning,
        match="leaf players/generator/params/hidden of item state does not match its checksum; renamed 16.damaged",
    ):
        again, _ = restore(tmp_path)
    assert_equal(again, state_at(8))


def cut(file):
    file.write_bytes(file.read_bytes()[:-50])


DAMAGES = {
    "flipped": (
        lambda folder: flip(biggest(folder / "state")),
        "file state/.* does not match its checksum",
    ),
    "truncated": (
        lambda folder: cut(biggest(folder / "state")),
        "file state/.* has [0-9]+ bytes instead of",
    ),
    "deleted": (lambda folder: biggest(folder / "sampler").unlink(), "file sampler/.* is missing"),
    "missing item": (lambda folder: shutil.rmtree(folder / "state"), "item state is missing"),
    "missing meta": (lambda folder: shutil.rmtree(folder / "meta"), "item meta is missing"),
    "meta changed": (
        lambda folder: replace_text(folder / "meta" / "metadata", '"seed": 0', '"seed": 1'),
        "file meta/metadata does not match its checksum",
    ),
    "meta cut": (
        lambda folder: (folder / "meta" / "metadata").write_text("{"),
        "file meta/metadata has 1 bytes instead of",
    ),
    "not committed": (
        lambda folder: (folder / "commit_success.txt").unlink(),
        "commit_success.txt is missing",
    ),
}
UNLISTED = {
    "truncated": (lambda folder: cut(biggest(folder / "state")), "item state cannot be read"),
    "meta changed": (DAMAGES["meta changed"][0], "meta/metadata does not match its checksum"),
    "meta cut": (DAMAGES["meta cut"][0], "meta/metadata cannot be read"),
}


def replace_text(file, old, new):
    text = file.read_text()
    if old not in text:
        old, new = old.replace(" ", ""), new.replace(" ", "")
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(("damage", "words"), [*DAMAGES.values()], ids=[*DAMAGES])
def test_damage_is_named_and_the_previous_used(tmp_path, damage, words):
    save(tmp_path, 8, 16)
    damage(tmp_path / "16")
    check_passed_over(tmp_path, words)
    save(tmp_path, 16)
    assert_equal(restore(tmp_path)[0], state_at(16))


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Orbax's threads, where it meets a damaged file
@pytest.mark.parametrize(("damage", "words"), [*UNLISTED.values()], ids=[*UNLISTED])
def test_damage_is_seen_without_the_list_of_files(tmp_path, damage, words):
    """As after a kill just behind the commit: then what is read is judged."""
    save(tmp_path, 8, 16)
    (tmp_path / "16" / "files.json").unlink()
    damage(tmp_path / "16")
    check_passed_over(tmp_path, words)


def check_passed_over(directory, words):
    with pytest.warns(CheckpointWarning) as caught:
        state, meta = restore(directory)
    lines = [str(warning.message) for warning in caught]
    assert len(lines) == 1
    assert lines[0].startswith(f"checkpoint 16 in {directory} is damaged: ")
    assert re.search(words, lines[0]), lines[0]
    assert "\n" not in lines[0]
    assert_equal(state, state_at(8))
    assert meta["images"] == 8
    assert (directory / "16.damaged").is_dir()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Orbax's threads, where it meets a damaged file
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("kind", ["flip", "truncate", "delete"])
def test_no_damage_to_any_file_gives_wrong_values(tmp_path, kind, listed):
    """Whichever file suffers, its name is said and the previous checkpoint used; without the list of files, at least no value is wrong."""
    save(tmp_path / "whole", 8, 16)
    if not listed:
        (tmp_path / "whole" / "16" / "files.json").unlink()
    files = sorted(
        file.relative_to(tmp_path / "whole" / "16")
        for file in (tmp_path / "whole" / "16").rglob("*")
        if file.is_file()
    )
    files = [
        file
        for file in files
        if (file.name != "files.json" and (tmp_path / "whole" / "16" / file).stat().st_size)
        or kind == "delete"
    ]
    assert len(files) > 15
    for file in files:
        if file.name == "files.json":
            continue
        directory = tmp_path / "copy"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", directory)
        harm(directory / "16" / file, kind)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state, meta = restore(directory)
        messages = [
            str(warning.message)
            for warning in caught
            if issubclass(warning.category, CheckpointWarning)
        ]
        assert meta["images"] == (8 if messages else 16), file
        assert_equal(state, state_at(meta["images"]))
        if listed:
            assert len(messages) == 1, file
            assert file.as_posix() in messages[0]


def harm(file, kind):
    if kind == "flip":
        flip(file)
    elif kind == "truncate":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()


def test_all_damaged_is_an_error_now_and_later(tmp_path):
    save(tmp_path, 8, 16)
    for number in ("8", "16"):
        shutil.rmtree(tmp_path / number / "state")
    with (
        pytest.warns(CheckpointWarning),
        pytest.raises(
            CheckpointError, match=r"every checkpoint in .* is damaged .*8: item state is missing"
        ),
    ):
        restore(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"every checkpoint in .* is damaged \(16.damaged, 8.damaged\)"
    ):
        restore(tmp_path)


def test_half_written_is_not_taken_for_whole(tmp_path):
    save(tmp_path, 8)
    shutil.copytree(tmp_path / "8", tmp_path / "16.orbax-checkpoint-tmp")
    assert_equal(restore(tmp_path)[0], state_at(8))
    save(tmp_path, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["16", "8"]


# ----------------------------------------------------------------------------------------------------------- what does not fit


def test_other_shapes_are_a_short_error_not_damage(tmp_path):
    save(tmp_path, 8)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError) as error:
        checkpoints.restore(abstract(tiny_family.Config(width=9)))
    message = str(error.value)
    assert "players/discriminator" not in message
    assert (
        "ema/batch_stats/mean: stored float32[8], expected float32[9]" in message
        or "players/generator/" in message
    )
    assert "more" in message
    assert len(message) < 600
    assert (tmp_path / "8").is_dir()


def test_initialise_from_takes_networks_only(tmp_path):
    save(tmp_path / "checkpoints", 8)
    fresh, source = state_at(0).replace(extra={"real_mean": jnp.float32(7)}), state_at(8)
    state = checkpoint.initialise_from(tmp_path, fresh, family=tiny_family)
    for name in ("generator", "discriminator"):
        assert_equal(state.players[name].params, source.players[name].params)
        assert_equal(state.players[name].stats, source.players[name].stats)
        assert_equal(state.players[name].opt, fresh.players[name].opt)
    assert_equal(state.ema, source.ema)
    assert (int(state.images), int(state.step), float(state.extra["real_mean"])) == (0, 0, 7.0)
    with pytest.raises(
        CheckpointError, match=r"the networks of .* do not fit this config .*stored float32"
    ):
        checkpoint.initialise_from(
            tmp_path, state_at(0, tiny_family.Config(width=9)), family=tiny_family
        )


@pytest.mark.parametrize(
    "name",
    ["no_such_family", "os", "jaxgan.train", "jaxgan.families.gan.", "tests.tiny_family", ""],
)
def test_a_name_in_a_file_is_looked_up_and_never_imported(tmp_path, name, monkeypatch):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(state_at(8), checkpoint.sampler(state_at(8)), {**META, "family": name})
    monkeypatch.setattr("importlib.import_module", lambda *_: pytest.fail("imported"))
    with pytest.raises(
        CheckpointError,
        match=f"the run's family {re.escape(name)} is none of this library's.*family=module.*--family FILE.py",
    ):
        checkpoint.load(tmp_path)
    with pytest.raises(CheckpointError, match="is none of this library's"):
        checkpoint.initialise_from(tmp_path, state_at(0))


def test_a_family_other_than_the_one_passed_is_one_sentence(tmp_path):
    save(tmp_path / "checkpoints", 8)
    with pytest.raises(
        CheckpointError,
        match=r"of the family tests.tiny_family, not of jaxgan.families.gan: pass the module that it was trained with",
    ):
        checkpoint.load(tmp_path, family=gan)


def test_a_run_of_a_script_is_opened_by_any_family_that_fits(tmp_path):
    """Its family has the name __main__, which tells nothing."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(
            state_at(8), checkpoint.sampler(state_at(8)), {**META, "family": "__main__"}
        )
    assert checkpoint.load(tmp_path, family=tiny_family)[:2] == (tiny_family, CONFIG)
    with pytest.raises(CheckpointError, match="is none of this library's"):
        checkpoint.load(tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"config does not fit jaxgan.families.gan as installed: Config has no field",
    ):
        checkpoint.load(tmp_path, family=gan)


def test_networks_of_the_family_in_training_need_not_be_passed(tmp_path):
    save(tmp_path / "checkpoints", 8)
    assert_equal(
        checkpoint.initialise_from(tmp_path, state_at(0), default=tiny_family).ema, state_at(8).ema
    )


# ------------------------------------------------------------------------------------------------------------------------- disks


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def one_sentence(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 500


def test_full_disk_is_one_sentence_and_the_previous_stays(small_disk):
    directory = small_disk / "checkpoints"
    save(directory, 8)
    (small_disk / "filler").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 65536))
    with pytest.raises(
        CheckpointError, match=r"checkpoint 16 could not be written to .*No space left on device"
    ) as error:
        save(directory, 16)
    assert one_sentence(error)
    assert Checkpoints(directory).steps == [8]
    assert_equal(restore(directory)[0], state_at(8))
    (small_disk / "filler").unlink()
    save(directory, 16)
    assert_equal(restore(directory)[0], state_at(16))


def test_read_only_disk_is_one_sentence(small_disk):
    directory = small_disk / "checkpoints"
    save(directory, 8)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 16 could not be written to .*Read-only file system"
    ) as error:
        save(directory, 16)
    assert one_sentence(error)
    assert_equal(restore(directory)[0], state_at(8))


def test_meta_is_plain_json(tmp_path):
    save(tmp_path, 8)
    meta = json.loads((tmp_path / "8" / "meta" / "metadata").read_text())
    assert meta["config"] == to_dict(CONFIG)
