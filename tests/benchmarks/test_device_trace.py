"""Kernels of accelerators are told by XLA's names; traces without any are refused in a sentence."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from benchmarks import device_trace


def event(name, begin, milliseconds, **stats):
    return SimpleNamespace(
        name=name, start_ns=1e6 * begin, duration_ns=1e6 * milliseconds, stats=list(stats.items())
    )


def test_kernels_of_streams_are_summed_by_kind():
    stream = [
        event("sm90_x", 0, 2, hlo_op="cudnn-conv.12"),
        event("sm90_y", 2, 1, hlo_op="cudnn-conv.3"),
        event("MemcpyD2D", 5, 1),
    ]
    lines = [
        SimpleNamespace(name="Stream #14(Compute)", events=stream),
        SimpleNamespace(name="XLA Ops", events=stream),
    ]
    planes = [
        SimpleNamespace(name="/device:GPU:0", lines=lines),
        SimpleNamespace(name="/host:CPU", lines=lines),
    ]
    found = list(device_trace.device_intervals(planes))
    assert [one.name for one in found] == ["cudnn-conv", "cudnn-conv", "MemcpyD2D"]
    head, first, second = device_trace.table(found, steps=2).splitlines()
    assert head == "2.000 ms of kernels in 3.000 ms a step, 1.5 of them"
    assert first.split() == ["1.500", "ms", "1", "cudnn-conv"]
    assert second.split() == ["0.500", "ms", "0.5", "MemcpyD2D"]


def test_a_trace_of_a_cpu_and_none_at_all_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        device_trace.main([str(tmp_path)])
    assert "holds no *.xplane.pb" in capsys.readouterr().err
    with jax.profiler.trace(str(tmp_path)):
        jax.block_until_ready(jnp.ones(3) + 1)
    with pytest.raises(SystemExit):
        device_trace.main([str(tmp_path)])
    assert "shows no accelerator at work" in capsys.readouterr().err
