"""The kernels of a compiled program: which of them are convolutions and matrix products, what those compute, and when each ran.

`products` reads the text of an optimised program (`compiled.as_text()`); `kernel_times` reads what `jax.profiler` saw of one execution on a CPU, where kernels
go by the names of the program's instructions.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(\S+) = (\S+?\[[\d,]*\])\S* ([\w-]+)\((.*)$")
_SHAPE = re.compile(r"\[([\d,]*)\]")
_CALLED = re.compile(r"calls=%?([\w.-]+)")
_CONTAINERS = ("while", "conditional", "call")
"""What only runs other instructions, which are seen themselves."""


class Product(NamedTuple):
    """A convolution or matrix product: its shapes in words, and its floating-point operations, multiplications with padding counted."""

    what: str
    flops: int


class Interval(NamedTuple):
    """One execution of a kernel: nanoseconds of the profiler's clock."""

    name: str
    begin: float
    end: float


class _Line(NamedTuple):
    name: str
    shape: tuple[int, ...]
    opcode: str
    rest: str


def scoped(program: str, scope: str) -> set[str]:
    """Names of the instructions that were traced under `jax.named_scope(scope)`, fused ones by what they end with."""
    return {
        found[1]
        for text in program.splitlines()
        if f"/{scope}/" in text and (found := _INSTRUCTION.match(text))
    }


def products(program: str) -> tuple[set[str], dict[str, Product]]:
    """(names of all kernels, those that are or contain a convolution or matrix product) of a program's text. What runs within a kernel is not one itself."""
    computations, kernels, found = _computations(program), set(), {}
    inside = {
        name: made
        for name, lines in computations.items()
        if (made := [product for line in lines if (product := _product(line, lines))])
    }
    fused = {
        called
        for lines in computations.values()
        for line in lines
        if line.opcode == "fusion"
        for called in _CALLED.findall(line.rest)
    }
    for name, lines in computations.items():
        if name in fused:
            continue
        for line in lines:
            if line.opcode in _CONTAINERS:
                continue
            kernels.add(line.name)
            made = (
                [product]
                if (product := _product(line, lines))
                else [
                    one for called in _CALLED.findall(line.rest) for one in inside.get(called, [])
                ]
            )
            if made:
                found[line.name] = Product(
                    ", ".join(one.what for one in made), sum(one.flops for one in made)
                )
    return kernels, found


def _computations(program: str) -> dict[str, list[_Line]]:
    computations: dict[str, list[_Line]] = {}
    current: list[_Line] = []
    for text in program.splitlines():
        if head := _COMPUTATION.match(text):
            current = computations.setdefault(head[1], [])
        elif line := _INSTRUCTION.match(text):
            current.append(_Line(line[1], _shape(line[2]), line[3], line[4]))
    return computations


def _shape(text: str) -> tuple[int, ...]:
    found = _SHAPE.search(text)
    return tuple(int(side) for side in found[1].split(",") if side) if found else ()


def _product(line: _Line, lines: Sequence[_Line]) -> Product | None:
    """What a line computes, if it is a convolution or a matrix product of instructions of `lines`."""
    if line.opcode not in ("convolution", "dot"):
        return None
    shapes = {one.name: one.shape for one in lines}
    names = [
        re.split(r"\s", part.strip())[-1].lstrip("%") for part in line.rest.split(")")[0].split(",")
    ]
    first, second = (shapes.get(name, ()) for name in names[:2])
    sizes = [_by(first), _by(second), _by(line.shape)]
    if line.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
        depth = (
            prod(first[int(axis)] for axis in contracted[1].split(",") if axis) if contracted else 1
        )
        return Product(f"product {sizes[0]} {sizes[1]} > {sizes[2]}", 2 * prod(line.shape) * depth)
    window, labels = (
        re.search(r"window=\{([^}]*)\}", line.rest),
        re.search(r"dim_labels=\w+_(\w+)->", line.rest),
    )
    options = dict(part.split("=") for part in window[1].split()) if window else {}
    spread = "".join(
        f"{sign}{options[name].split('x')[0]}"
        for name, sign in (("stride", "/"), ("rhs_dilate", "~"), ("lhs_dilate", "^"))
        if name in options
    )
    size = options.get("size", "1x1")
    inputs = second[labels[1].index("i")] if labels and second else 1
    return Product(
        f"conv {size}{spread} {sizes[0]} > {sizes[2]}",
        2 * prod(line.shape) * inputs * prod(int(side) for side in size.split("x")),
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def kernel_times(call: Callable[[], Any], kernels: set[str]) -> tuple[list[Interval], float]:
    """(every execution of one of `kernels` during `call()`, seconds of wall clock that it took), with the profiler watching."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            begin = time.perf_counter()
            jax.block_until_ready(call())
            seconds = time.perf_counter() - begin
        (path,) = Path(folder).glob("**/*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        events = [
            event
            for plane in data.planes
            for line in plane.lines
            for event in line.events
            if event.name in kernels
        ]
        return [
            Interval(event.name, event.start_ns, event.start_ns + event.duration_ns)
            for event in events
        ], seconds


def covered(intervals: Sequence[Interval]) -> float:
    """Nanoseconds in which at least one of the intervals lasts."""
    total = reached = 0.0
    for one in sorted(intervals, key=lambda one: one.begin):
        total += max(0.0, one.end - max(one.begin, reached))
        reached = max(reached, one.end)
    return total
