"""Shared by all tests: eight virtual devices, strict shapes, and where the optional real data and golden files are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling is most of the time here, and takes a third of it without the optimisations; what is computed does not depend on them beyond rounding.
jax.config.update("jax_disable_most_optimizations", True)
# What one worker has compiled the others read, and so does a test whose program was dropped from memory. pytest-xdist's workers inherit the environment.
if "JAXGAN_TESTS_COMPILED" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="jaxgan-tests-")
    os.environ["JAXGAN_TESTS_COMPILED"] = _compiled.name
jax.config.update("jax_compilation_cache_dir", os.environ["JAXGAN_TESTS_COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"{name} files are not here: set {variable} to their folder")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real image sets (MNIST, Fashion-MNIST, ...), named by JAXGAN_DATA."""
    return _folder("JAXGAN_DATA", "data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden files made by reference implementations, named by JAXGAN_GOLDEN."""
    return _folder("JAXGAN_GOLDEN", "golden")


@pytest.fixture
def optimised():
    """For tests that time a program: it is compiled as users have it."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def _slow_tests_clear_up(request):
    yield
    if request.node.get_closest_marker("slow"):
        jax.clear_caches()  # hundreds of programs, each used once, would fill the memory


MEMORY = 3 * 2**30
"""Bytes that a worker may hold before it drops its compiled programs, which are most of it."""


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_do_not_pile_up():
    yield
    statistics = Path("/proc/self/statm")
    if (
        statistics.exists()
        and int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MEMORY
    ):
        jax.clear_caches()


LONGEST = ("test_resume.py", "test_mappings.py", "test_multiprocess.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: each runs in one worker, which would be left alone with them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
