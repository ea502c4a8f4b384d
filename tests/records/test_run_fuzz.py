"""Runs that a stranger forged: whatever their files say, opening one gives the run or a named error, and imports nothing."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan import gan
from jaxgan.errors import CheckpointError, JaxganError
from jaxgan.records import checkpoint, integrity
from jaxgan.records.checkpoint import Checkpoints, sampler
from jaxgan.records.config_io import to_dict
from jaxgan.records.rundir import RunDir, read_json
from jaxgan.report import writing as report
from tests.families_under_test import CASES

CONFIG = CASES["gan"].config
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([10**400, -(2**63), 2**31, "NaN", "os.system", "../..", "jaxgan.train"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
FUZZ = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """A run of one checkpoint, and the state in it."""
    run = tmp_path_factory.mktemp("runs") / "genuine"
    state = jax.jit(gan.init, static_argnums=0)(CONFIG, jax.random.key(0))
    meta = {"family": gan.__name__, "config": to_dict(CONFIG), "seed": 0, "attempt": 0}
    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(state, sampler(state), meta)
    (run / "config.json").write_text(json.dumps({"format": 1, "fingerprint": "f", **meta}))
    (run / "environment.json").write_text("{}")
    return run, jax.device_get(state)


@pytest.fixture(scope="module")
def copy(genuine, tmp_path_factory):
    """A copy of the run, of which one checkpoint's meta is forged by each example."""
    run = tmp_path_factory.mktemp("runs") / "forged"
    shutil.copytree(genuine[0], run)
    return run


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Nothing waits for Orbax's threads, nothing is imported."""
    monkeypatch.setattr(integrity.time, "sleep", lambda seconds: None)


def opened(run: Path, state) -> None:
    """Open the run by every way there is: what it holds is `state`, or a named error is raised."""
    before = set(sys.modules)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrity.CheckpointWarning)
        try:
            family, _, found = checkpoint.load(run)
        except JaxganError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert family is gan
            jax.tree.map(np.testing.assert_array_equal, jax.device_get(found.ema), state.ema)
        try:
            assert all(isinstance(name, str) for names in checkpoint.names(run) for name in names)
        except JaxganError as error:
            assert "\n" not in str(error)  # noqa: PT017
    new = {
        name
        for name in set(sys.modules) - before
        if not name.startswith(("jax", "orbax", "flax", "numpy", "tensorstore"))
    }
    assert not new & {"antigravity", "this"}


def named(action) -> None:
    """Nothing but a named error, in one line, comes out of `action`."""
    try:
        action()
    except JaxganError as error:
        assert "\n" not in str(error)  # noqa: PT017


def forged(meta: dict, path: tuple[str, ...], value) -> dict:
    """The meta with what stands at `path` replaced, and a checksum that is right again."""
    meta = json.loads(json.dumps(meta))
    meta.pop("crc32")
    place = meta
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return {**meta, "crc32": integrity.meta_checksum(meta)}


PATHS = [
    *(
        (name,)
        for name in (
            "family",
            "config",
            "seed",
            "attempt",
            "format",
            "step",
            "images",
            "leaves",
            "versions",
            "names",
        )
    ),
    *(("config", name) for name in to_dict(CONFIG)),
    *(("config", "stabilisers", name) for name in to_dict(CONFIG)["stabilisers"]),
    ("leaves", "sampler"),
    ("leaves", "sampler", "step"),
]


@FUZZ
@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_meta_with_a_right_checksum_is_the_run_or_a_named_error(genuine, copy, path, value):
    run, state = genuine
    original = json.loads((run / "checkpoints/0/meta/metadata").read_text())
    (copy / "checkpoints/0/meta/metadata").write_text(json.dumps(forged(original, path, value)))
    (copy / "checkpoints/0/files.json").unlink(missing_ok=True)
    opened(copy, state)


@pytest.mark.parametrize(
    "name",
    [
        "antigravity",
        "this",
        "os",
        "tests.tiny_family",
        "jaxgan.families.gan ",
        "jaxgan.train",
        "a\nb",
        "",
    ],
)
def test_no_module_is_imported_because_meta_names_it(genuine, copy, name):
    original = json.loads((genuine[0] / "checkpoints/0/meta/metadata").read_text())
    (copy / "checkpoints/0/meta/metadata").write_text(
        json.dumps(forged(original, ("family",), name))
    )
    (copy / "checkpoints/0/files.json").unlink(missing_ok=True)
    with pytest.raises(
        CheckpointError, match="is none of this library's, and no module is imported"
    ):
        checkpoint.load(copy)
    assert name not in sys.modules or name in ("os", "jaxgan.train", "tests.tiny_family")


@FUZZ
@given(data=st.data())
def test_a_changed_byte_anywhere_in_a_checkpoint_is_found_or_changes_nothing(
    genuine, tmp_path_factory, data
):
    run, state = genuine
    copy = tmp_path_factory.mktemp("runs") / "changed"
    shutil.copytree(run, copy)
    files = sorted(
        file
        for file in (copy / "checkpoints/0").rglob("*")
        if file.is_file() and file.stat().st_size
    )
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    file.write_bytes(bytes(content))
    opened(copy, state)
    shutil.rmtree(copy)


RECORDS = (
    "config.json",
    "environment.json",
    "attempts.json",
    "best.json",
    "data.json",
    "data_files.json.gz",
    "notes.jsonl",
)


@FUZZ
@given(
    name=st.sampled_from(RECORDS),
    content=st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()),
)
def test_any_record_of_a_run_is_read_or_refused_by_name(genuine, tmp_path_factory, name, content):
    run = tmp_path_factory.mktemp("runs") / "records"
    run.mkdir()
    (run / name).write_bytes(content)
    (run / "metrics.jsonl").write_text("")

    def settled():
        with RunDir(run) as directory:
            directory.settle_config(
                {"family": gan.__name__, "config": to_dict(CONFIG), "fingerprint": "f"}, gan.Config
            )

    def counted():
        with RunDir(run) as directory:
            assert directory.attempt() >= 0
            assert directory.failed() in (True, False)

    def surrounded():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with RunDir(run) as directory:
                directory.settle_environment({"device_count": 1}, 0)

    def best():
        assert checkpoint.number_of(run, "best") in (0, None)

    def reported():
        assert "<html" in report.write(run).read_text()

    for action in (
        lambda: read_json(run / "config.json"),
        settled,
        counted,
        surrounded,
        best,
        reported,
    ):
        named(action)
    shutil.rmtree(run)
