"""The bytes of a program's instructions, by kind; without the plug-in for GPUs, a sentence."""

from __future__ import annotations

import pytest

from benchmarks import gpu_program

PROGRAM = """HloModule jit_step

%fused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %n.1 = f32[8]{0} negate(%p)
}

ENTRY %main.3 (x.1: bf16[2,3], k.1: f32[4]) -> (bf16[2,3], f32[]) {
  %x.1 = bf16[2,3]{1,0} parameter(0)
  %k.1 = f32[4]{0} parameter(1), sharding={mesh[], [{}]}
  %cudnn-conv.1 = (bf16[2,3]{1,0}, u8[10]{0}) custom-call(%x.1, %k.1), custom_call_target="__cudnn$convForward"
  %get-tuple-element.2 = bf16[2,3]{1,0} get-tuple-element(%cudnn-conv.1), index=0
  %loop_add_fusion = bf16[2,3]{1,0} fusion(%get-tuple-element.2, %x.1), kind=kLoop, calls=%fused
  %loop_add_fusion.7 = pred[5]{0} fusion(%k.1), kind=kLoop, calls=%fused
  %constant.1 = f32[] constant(0)
  ROOT %tuple.1 = (bf16[2,3]{1,0}, f32[]) tuple(%loop_add_fusion, %constant.1)
}
"""


def test_instructions_of_the_entry_have_the_bytes_of_operands_and_results():
    found = gpu_program.instructions(PROGRAM)
    assert found == [
        ("cudnn-conv", 12 + 10 + 12 + 16),
        ("loop_add_fusion", 3 * 12),
        ("loop_add_fusion", 5 + 16),
    ]
    head, first, second = gpu_program.table(found).splitlines()
    assert head == "0.00 GB in 3 instructions"
    assert first.split() == ["0.000", "GB", "2", "loop_add_fusion"]
    assert second.split() == ["0.000", "GB", "1", "cudnn-conv"]


def test_a_machine_that_cannot_compile_for_gpus_is_told_what_to_install(monkeypatch, capsys):
    def refuse(**_):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", refuse)
    with pytest.raises(SystemExit):
        gpu_program.main(["--families", "cgan"])
    assert 'pip install "jax[cuda13]"' in capsys.readouterr().err
