"""Shared by the tests of data sources."""

from __future__ import annotations

import pytest

import jaxgan.data
from jaxgan.data import decoding
from jaxgan.errors import DataError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder for decoded images."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """The names of sets that were decoded rather than found in the cache, in order."""
    calls = []
    passed = decoding.passed
    monkeypatch.setattr(
        decoding, "passed", lambda source, *rest: calls.append(source.name) or passed(source, *rest)
    )
    return calls


@pytest.fixture
def failure():
    """spec, options -> the one sentence of the DataError that opening raises."""

    def sentence(spec, **options):
        with pytest.raises(DataError) as caught:
            jaxgan.data.open(str(spec), progress=False, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return sentence
