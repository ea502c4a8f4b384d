"""Compiling is most of the time here, so the compiler's optimisations are off; what is computed does not depend on them beyond rounding."""

from __future__ import annotations

import pytest

from tests.contract.helpers import fast_compile


@pytest.fixture(autouse=True)
def _fast_compile():
    with fast_compile():
        yield
