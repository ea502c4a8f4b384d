"""State dicts read from files of every kind, and one sentence for each that cannot be; nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxgan.convert.files import read
from jaxgan.errors import DataError

ARRAYS: dict[str, np.ndarray] = {
    "model.1.weight": np.random.default_rng(0).standard_normal((4, 3, 7, 7), np.float32),
    "model.1.bias": np.array([1.5, -2.0, 0.0, 3e-9], np.float32),
    "model.2.num_batches_tracked": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


def assert_read(path: Path, expected: dict[str, np.ndarray]) -> None:
    arrays = read(path)
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def refused(path: Path) -> str:
    """The sentence that `path` is refused with."""
    with pytest.raises(DataError) as error:
        read(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert not message.endswith(".")
    return message


# ------------------------------------------------------------------------------------------------------------------- safetensors


def safetensors(path: Path, entries: dict, body: bytes, **header) -> Path:
    text = json.dumps({**header, **entries}).encode()
    text += b" " * (-len(text) % 8)  # as the format's own writer aligns
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def whole_safetensors(path: Path) -> Path:
    kinds, entries, body = {"float32": "F32", "int64": "I64"}, {}, b""
    for name, array in ARRAYS.items():
        entries[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + array.nbytes],
        }
        body += array.tobytes()
    return safetensors(path, entries, body, __metadata__={"format": "pt"})


def test_safetensors(tmp_path):
    assert_read(whole_safetensors(tmp_path / "a.safetensors"), ARRAYS)


@pytest.mark.parametrize(
    ("kind", "stored", "value", "dtype"),
    [
        ("F64", "000000000000f8bf", -1.5, np.float32),
        ("F32", "0000c0bf", -1.5, np.float32),
        ("F16", "00be", -1.5, np.float32),
        ("BF16", "c0bf", -1.5, np.float32),
        ("I64", "feffffffffffffff", -2, np.int64),
        ("I32", "feffffff", -2, np.int32),
        ("I8", "fe", -2, np.int8),
        ("U8", "fe", 254, np.uint8),
        ("BOOL", "01", True, np.bool_),
    ],
)
def test_types_of_safetensors(tmp_path, kind, stored, value, dtype):
    """Every type by its bytes, -1.5 in IEEE 754 and bfloat16, behind an array of one byte, so that nothing is aligned."""
    content = bytes.fromhex(stored)
    entries = {
        "first": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "x": {"dtype": kind, "shape": [], "data_offsets": [1, 1 + len(content)]},
    }
    assert_read(
        safetensors(tmp_path / "a.safetensors", entries, b"\x09" + content),
        {"first": np.array([9], np.uint8), "x": np.array(value, dtype)},
    )


def test_truncated_safetensors(tmp_path):
    path = whole_safetensors(tmp_path / "a.safetensors")
    content = path.read_bytes()
    for length in (0, 5, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        assert "truncated" in refused(path)
    assert (
        f"model.2.num_batches_tracked should end at byte {len(content)} of {len(content) - 1}"
        in refused(path)
    )


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([1], "lacks dtype, shape or data_offsets"),
        ({"dtype": "F32", "shape": [2]}, "lacks dtype, shape or data_offsets"),
        ({**GOOD, "data_offsets": [0.5, 8.5]}, "lacks dtype, shape or data_offsets"),
        ({**GOOD, "dtype": "F4"}, "is of type F4, known are F64, F32"),
        ({**GOOD, "shape": [3]}, "does not take the bytes 0 to 8"),
        ({**GOOD, "shape": [-1, -2]}, "does not take the bytes 0 to 8"),
        ({**GOOD, "shape": [2.0]}, "does not take the bytes 0 to 8"),
        ({**GOOD, "data_offsets": [-8, 0]}, "does not take the bytes -8 to 0"),
    ],
)
def test_damaged_headers(tmp_path, entry, reason):
    assert reason in refused(safetensors(tmp_path / "a.safetensors", {"x": entry}, bytes(8)))


def test_what_is_no_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    for content in (
        bytes(64),
        (20).to_bytes(8, "little") + b"[" * 20,
        (2).to_bytes(8, "little") + b"[]",
    ):
        path.write_bytes(content)
        assert "not a JSON mapping" in refused(path)


# ------------------------------------------------------------------------------------------------------------------------- NumPy


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    assert_read(tmp_path / "a.npz", ARRAYS)


def test_floats_become_float32(tmp_path):
    np.savez(tmp_path / "a.npz", half=np.array([0.5], np.float16), double=np.array([1 / 3]))
    assert_read(
        tmp_path / "a.npz",
        {"half": np.array([0.5], np.float32), "double": np.array([1 / 3], np.float32)},
    )


def test_damaged_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **ARRAYS)
    content = path.read_bytes()
    for damaged in (b"", b"no zip", content[:-100], content[:300] + b"\0\0\0\0" + content[304:]):
        path.write_bytes(damaged)
        assert "cannot be read: it is damaged, not complete" in refused(path)
    with open(path, "wb") as stream:
        np.save(stream, np.zeros(3))
    assert "one array (.npy) without a name" in refused(path)


class Dangerous:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_objects_are_not_unpickled(tmp_path):
    trace = tmp_path / "unpickled"
    np.savez(tmp_path / "a.npz", weight=np.array([Dangerous(trace)], object))
    assert "holds Python objects, which are not unpickled" in refused(tmp_path / "a.npz")
    assert not trace.exists()


# ----------------------------------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_must_be_finite(tmp_path, bad):
    np.savez(tmp_path / "a.npz", good=np.zeros(2), weight=np.array([0.0, bad]))
    assert "weight in" in refused(tmp_path / "a.npz")


def test_other_content_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", name=np.array(["text"]))
    assert "name in" in refused(tmp_path / "a.npz")
    assert "of type <U4" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz")
    assert "holds no arrays" in refused(tmp_path / "b.npz")
    (tmp_path / "c.onnx").touch()
    assert "is none of .pth, .pt, .ckpt, .npz, .safetensors" in refused(tmp_path / "c.onnx")
    assert "there is no file" in refused(tmp_path / "d.pth")
    assert "there is no file" in refused(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = whole_safetensors(tmp_path / "a.safetensors")

    def read_bytes(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert "cannot be read (Permission denied)" in refused(path)


# ----------------------------------------------------------------------------------------------------------------------- PyTorch


def tensors(torch):
    return {name: torch.from_numpy(array.copy()) for name, array in ARRAYS.items()}


@pytest.mark.parametrize("suffix", ["pth", "pt", "PTH"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch(tmp_path, suffix, zipped):
    """Both of PyTorch's formats: that of today, and the one before version 1.6."""
    torch = pytest.importorskip("torch")
    torch.save(tensors(torch), tmp_path / f"a.{suffix}", _use_new_zipfile_serialization=zipped)
    assert_read(tmp_path / f"a.{suffix}", ARRAYS)


def test_types_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    values = [1.0, -0.75]
    kinds = {
        name: torch.tensor(values, dtype=getattr(torch, name))
        for name in ("float64", "float32", "float16", "bfloat16")
    }
    torch.save({**kinds, "parameter": torch.nn.Parameter(torch.tensor(values))}, tmp_path / "a.pth")
    assert_read(
        tmp_path / "a.pth", dict.fromkeys([*kinds, "parameter"], np.array(values, np.float32))
    )


def test_pytorch_without_pytorch(tmp_path, monkeypatch):
    """The sentence tells how to convert the file elsewhere, and what it tells works."""
    path = tmp_path / "a.pth"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused(path)
    assert "PyTorch, which is not installed" in message
    monkeypatch.undo()
    torch = pytest.importorskip("torch")
    torch.save(tensors(torch), path)
    found = re.search(r'python -c "(.*)" FILE', message)
    assert found
    monkeypatch.setattr(sys, "argv", ["-c", str(path)])
    exec(found[1], {})
    arrays = read(tmp_path / "a.npz")
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_checkpoints_that_hold_more_than_a_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    torch.save({"epoch": 3, "model": tensors(torch)}, path)
    assert "a mapping of epoch (int), model (dict): save the generator's part" in refused(path)
    torch.save({f"part{i}": {} for i in range(12)}, path)
    assert "part9 (dict) and 2 more" in refused(path)
    torch.save([torch.zeros(2)], path)
    assert "no state dict but a list" in refused(path)


def test_damaged_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    for zipped in (True, False):
        torch.save(tensors(torch), path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        for damaged in (b"", b"no zip", content[:-100], content[: len(content) // 2]):
            path.write_bytes(damaged)
            assert "cannot be read: it is damaged" in refused(path)


def test_pytorch_does_not_unpickle_objects(tmp_path):
    torch = pytest.importorskip("torch")
    trace, path = tmp_path / "unpickled", tmp_path / "a.pth"
    for save in (
        lambda content: torch.save(content, path),
        lambda content: path.write_bytes(pickle.dumps(content)),
    ):
        save({"weight": torch.zeros(2), "more": Dangerous(trace)})
        assert "never unpickled as they may run any code" in refused(path)
        assert not trace.exists()
    torch.save(torch.nn.Conv2d(1, 1, 1), path)
    assert "save the network's state_dict() alone" in refused(path)
