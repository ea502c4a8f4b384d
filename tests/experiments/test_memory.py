"""Freed memory is kept: a program that is told so meets no page twice."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import resource
from experiments import memory
if {keep}:
    assert memory.keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    b"x" * (64 << 20)
before = faults()
for _ in range(10):
    b"x" * (64 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is left as it is")
def test_large_arrays_are_not_mapped_anew():
    found = {}
    for keep in (False, True):
        ran = subprocess.run([sys.executable, "-c", COUNT.format(keep=keep)], capture_output=True, text=True, cwd=ROOT, check=True)
        found[keep] = int(ran.stdout)
    assert found[False] > 100_000 > 1_000 > found[True]
