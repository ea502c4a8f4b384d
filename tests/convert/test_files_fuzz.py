"""State dicts that a stranger damaged or forged: each is read as it was, or refused by name."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.convert.files import read
from jaxgan.errors import DataError

FUZZ = settings(max_examples=150, deadline=None, derandomize=True, database=None)
WEIGHTS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.ones(3, np.float32),
}


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **WEIGHTS)
    return buffer.getvalue()


def with_header(header, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def safetensors() -> bytes:
    entries, body = {}, b""
    for name, array in WEIGHTS.items():
        ends = [len(body), len(body) + array.nbytes]
        entries[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": ends}
        body += array.tobytes()
    return with_header(entries, body)


WHOLE = {".npz": npz(), ".safetensors": safetensors()}


def attempt(suffix: str, content: bytes) -> dict[str, np.ndarray] | None:
    """What is read; None where it is refused by name, in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{suffix}"
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return read(path)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            return None


@pytest.mark.parametrize("suffix", WHOLE)
def test_whole_files_are_read(suffix):
    found = attempt(suffix, WHOLE[suffix])
    assert found is not None
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in WEIGHTS.items()
    }


@FUZZ
@given(data=st.data())
def test_files_with_changed_bytes_are_read_or_refused(data):
    suffix = data.draw(st.sampled_from(sorted(WHOLE)))
    content = bytearray(WHOLE[suffix])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([None, data.draw(st.integers(0, len(content)))]))
    found = attempt(suffix, bytes(content[:cut]))
    if suffix == ".npz" and found is not None and found.keys() == WEIGHTS.keys():
        for name, array in found.items():  # zip files have checksums
            np.testing.assert_array_equal(array, WEIGHTS[name])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 100)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["F32", "I64", "F8_E4M3", "BOOL", 10**30, -(2**63)]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries({"dtype": JSON, "shape": JSON, "data_offsets": JSON})


@FUZZ
@given(
    header=JSON | st.dictionaries(st.text(max_size=3), ENTRY, max_size=3),
    body=st.binary(max_size=64),
)
def test_any_safetensors_header_is_read_or_refused(header, body):
    attempt(".safetensors", with_header(header, body))


@FUZZ
@given(
    content=st.binary(max_size=200),
    suffix=st.sampled_from([".npz", ".safetensors", ".pth", ".bin"]),
)
def test_noise_is_refused(content, suffix):
    assert attempt(suffix, content) is None
