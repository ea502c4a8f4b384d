"""Compiling is most of the time here, so the compiler's optimisations are off; what is computed does not depend on them beyond rounding."""

from __future__ import annotations

import jax
import pytest

from tests.contract.helpers import fast_compile


@pytest.fixture(autouse=True)
def _fast_compile(request):
    with fast_compile():
        yield
    if request.node.get_closest_marker("slow"):
        jax.clear_caches()  # hundreds of programs, each used once, would fill the memory
