from __future__ import annotations

import pickle

import pytest

from nnefc.codegen.llvm import library_calls, llvm, optimise
from nnefc.codegen.target import Target
from nnefc.errors import UnsupportedError
from nnefc.ir.types import DType

LINUX = "x86_64-unknown-linux-gnu"

# triple:cpu, vector bytes, vector registers, fma, rounding, f16c, vnni, dotprod
KNOWN = [
    (f"{LINUX}:x86-64", 16, 16, False, False, False, False, False),
    (f"{LINUX}:x86-64-v2", 16, 16, False, True, False, False, False),
    (f"{LINUX}:x86-64-v3", 32, 16, True, True, True, False, False),
    (f"{LINUX}:x86-64-v3-fma", 32, 16, False, True, True, False, False),
    (f"{LINUX}:x86-64-v4", 64, 32, True, True, True, False, False),
    (f"{LINUX}:sandybridge", 32, 16, False, True, False, False, False),
    (f"{LINUX}:skylake-avx512", 64, 32, True, True, True, False, False),
    (f"{LINUX}:skylake-avx512+avx512vnni", 64, 32, True, True, True, True, False),
    (f"{LINUX}:icelake-server", 64, 32, True, True, True, True, False),
    (f"{LINUX}:alderlake", 32, 16, True, True, True, True, False),
    (f"{LINUX}:znver3", 32, 16, True, True, True, False, False),
    (f"{LINUX}:znver4", 64, 32, True, True, True, True, False),
    ("aarch64-unknown-linux-gnu", 16, 32, True, True, True, False, False),
    ("aarch64-linux-gnu:cortex-a53", 16, 32, True, True, True, False, False),
    ("aarch64-linux-gnu:cortex-a76", 16, 32, True, True, True, False, True),
    ("aarch64-linux-gnu:cortex-a76-dotprod", 16, 32, True, True, True, False, False),
    ("aarch64-linux-gnu:neoverse-n1", 16, 32, True, True, True, False, True),
    ("aarch64-linux-gnu:apple-m1", 16, 32, True, True, True, False, True),
    ("riscv64-linux-gnu:generic-rv64+v", 16, 32, True, True, False, False, False),
]


@pytest.mark.parametrize(("text", "size", "registers", "fma", "rounding", "f16c", "vnni", "dotprod"), KNOWN)
def test_what_a_cpu_has(
    text: str, size: int, registers: int, fma: bool, rounding: bool, f16c: bool, vnni: bool, dotprod: bool
) -> None:
    target = Target.parse(text)
    assert (target.vector_bytes, target.vector_registers) == (size, registers)
    assert (target.fma, target.rounding, target.f16c) == (fma, rounding, f16c)
    assert (target.vnni, target.dotprod) == (vnni, dotprod)
    assert (
        target.lanes(DType.F32) == size // 4 and target.lanes(DType.U8) == size and target.lanes(DType.F64) == size // 8
    )


@pytest.mark.parametrize("text", [case[0] for case in KNOWN])
def test_the_key_names_the_target(text: str) -> None:
    target = Target.parse(text)
    assert Target.parse(target.key) == target
    assert pickle.loads(pickle.dumps(target)) == target


def test_features_are_told_from_names_with_dashes() -> None:
    target = Target.parse(f"{LINUX}:skylake-avx512-avx512vl+avxvnni")
    assert (target.cpu, target.features) == ("skylake-avx512", ("-avx512vl", "+avxvnni"))
    assert target.key == f"{LINUX}:skylake-avx512-avx512vl+avxvnni"
    assert Target.parse(f"{LINUX}:x86-64+avx+fma-avx").features == ("+fma", "-avx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x86_64-linx-gnu", "near to it are x86_64-unknown-linux-gnu"),
        ("armv7-linux-gnueabihf", "accepted are 64-bit Linux triples of x86_64, aarch64, riscv64"),
        ("x86_64-apple-darwin", "accepted are 64-bit Linux"),
        ("", "no code can be made for the triple ''"),
        (f"{LINUX}:znver9", "no x86_64 CPU 'znver9'; near to it are znver"),
        (f"{LINUX}:cortex-a76", "no x86_64 CPU 'cortex-a76'"),
        (f"{LINUX}:znver4+avx512vni", "no x86_64 feature 'avx512vni'; near to it are avx512vnni"),
        ("aarch64-linux-gnu:cortex-a76+avx2", "no aarch64 feature 'avx2'"),
        (f"{LINUX}:i386", "64-bit code requested on a subtarget that doesn't support it"),
        (f"{LINUX}:x86-64-v3-sse2", "SSE2 register return with SSE2 disabled"),
        ("riscv64-linux-gnu:generic-rv64", "needs the features f and d"),
    ],
)
def test_unknown_names_are_named(text: str, message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        Target.parse(text)
    assert message in caught.value.message


def test_host() -> None:
    host = Target.host()
    assert Target.parse("host") == host
    assert host.cpu == llvm().get_host_cpu_name()
    present = llvm().get_host_cpu_features()
    assert all(present[name] for name in host.isa if name in present)
    host.check_host()
    base = Target.parse(f"host:{Target.parse(host.triple).cpu}")
    base.check_host()
    assert base.triple == host.triple and base.isa <= host.isa


def test_code_for_another_cpu_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="this machine"):
        other = "aarch64" if Target.host().arch == "x86_64" else "x86_64"
        Target.parse(f"{other}-linux-gnu").check_host()


def test_code_for_a_better_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Target.parse(f"{LINUX}:x86-64-v3")
    monkeypatch.setattr(llvm(), "get_process_triple", lambda: LINUX)
    monkeypatch.setattr(Target, "host", staticmethod(lambda: host))
    Target.parse(f"{LINUX}:x86-64-v2").check_host()
    with pytest.raises(UnsupportedError, match="needs avx512bw, avx512cd, avx512dq, avx512f, avx512vl"):
        Target.parse(f"{LINUX}:x86-64-v4").check_host()


def test_cpu_flags_are_in_the_names_of_linux() -> None:
    assert Target.parse(f"{LINUX}:x86-64-v2").cpu_flags == ("pni", "popcnt", "sse4_1", "sse4_2", "ssse3")
    assert {"avx512_vnni", "abm", "bmi1"} <= set(Target.parse(f"{LINUX}:icelake-server").cpu_flags)
    assert {"asimd", "asimddp", "atomics"} <= set(Target.parse("aarch64-linux-gnu:cortex-a76").cpu_flags)


LOOP = """
define void @f(ptr noalias %p, ptr noalias %q, i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%j, %loop]
  %a = getelementptr float, ptr %p, i64 %i
  %b = getelementptr float, ptr %q, i64 %i
  %x = load float, ptr %a
  %y = fadd float %x, 1.0
  store float %y, ptr %b
  %j = add nuw nsw i64 %i, 1
  %c = icmp slt i64 %j, %n
  br i1 %c, label %loop, label %done
done:
  ret void
}
"""


@pytest.mark.parametrize("cpu", ["znver4", "skylake-avx512", "icelake-server", "sapphirerapids", "x86-64-v4"])
def test_the_widest_registers_are_used(cpu: str) -> None:
    machine = Target.parse(f"{LINUX}:{cpu}").machine()
    module = llvm().parse_assembly(LOOP)
    optimise(module, machine)
    assert "zmm" in machine.emit_assembly(module)


def test_library_calls_tell_instructions_from_calls() -> None:
    assert library_calls(LINUX, "x86-64", "") == {"fma", "rounding", "f16c"}
    assert library_calls(LINUX, "x86-64-v3", "") == frozenset()
