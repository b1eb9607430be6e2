"""The CPU that code is made for: a triple, a CPU name and features of LLVM's, and what kernels may ask of them."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import Any

from nnefc.codegen import llvm
from nnefc.errors import UnsupportedError
from nnefc.ir.types import DType

CACHE_LINE = 64
"""Bytes that a cache brings at a time."""
CPU_FLAGS: dict[str, dict[str, str]] = {
    "x86_64": {
        name: name
        for name in "ssse3 sse4a popcnt avx avx2 fma f16c fma4 xop tbm bmi2 movbe gfni vaes vpclmulqdq "
        "avx512f avx512cd avx512bw avx512dq avx512vl avx512vbmi avx512ifma".split()
    }
    | {
        "sse3": "pni",
        "sse4.1": "sse4_1",
        "sse4.2": "sse4_2",
        "bmi": "bmi1",
        "lzcnt": "abm",
        "avx512vnni": "avx512_vnni",
        "avx512vbmi2": "avx512_vbmi2",
        "avx512bitalg": "avx512_bitalg",
        "avx512vpopcntdq": "avx512_vpopcntdq",
        "avx512bf16": "avx512_bf16",
        "avx512fp16": "avx512_fp16",
        "avxvnni": "avx_vnni",
        "avxvnniint8": "avx_vnni_int8",
        "avxifma": "avx_ifma",
        "egpr": "apx",
    },
    "aarch64": {
        "neon": "asimd",
        "fp-armv8": "fp",
        "crc": "crc32",
        "lse": "atomics",
        "rdm": "asimdrdm",
        "fullfp16": "asimdhp",
        "dotprod": "asimddp",
        "fp16fml": "asimdfhm",
        "rcpc": "lrcpc",
        "rcpc-immo": "ilrcpc",
        "jsconv": "jscvt",
        "complxnum": "fcma",
        "i8mm": "i8mm",
        "bf16": "bf16",
        "flagm": "flagm",
        "cssc": "cssc",
        "mops": "mops",
        "sve": "sve",
        "sve2": "sve2",
    },
    "riscv64": {name: name for name in "m a f d c v zba zbb zbs zicond zfhmin zfh zvfhmin zvfh".split()},
}
"""Per architecture: the instruction sets that LLVM may use, and what Linux calls each in /proc/cpuinfo."""

BASE = {
    "x86_64": ("x86-64", ()),
    "aarch64": ("generic", ()),
    "riscv64": ("generic-rv64", ("+m", "+a", "+f", "+d", "+c")),
}
"""Per architecture: the CPU and features that a triple alone means."""

_TRIPLES = tuple(f"{arch}-{rest}" for arch in CPU_FLAGS for rest in ("unknown-linux-gnu", "unknown-linux-musl"))


@dataclass(frozen=True)
class Target:
    """A CPU to make code for; made by :meth:`host` or :meth:`parse`, which check the names.

    ``features`` are LLVM's, each with ``+`` or ``-``; they add to or take from what ``cpu`` has, in order. With
    ``fast_math`` functions of f32 are approximations (``vecmath.fast``); it is no part of the text.
    """

    triple: str
    cpu: str
    features: tuple[str, ...] = ()
    fast_math: bool = False

    @staticmethod
    @functools.cache
    def host() -> Target:
        """The CPU that this process runs on. Raises UnsupportedError if it is none that code can be made for."""
        binding = llvm.llvm()
        triple = binding.get_process_triple()
        known = CPU_FLAGS[_check_triple(triple)]
        cpu, found = binding.get_host_cpu_name(), binding.get_host_cpu_features()
        present = {name: found[name] for name in known if name in found}
        named = llvm.supported_features(triple, cpu, "", tuple(known))
        differing = sorted(name for name in present if present[name] != (name in named))
        return Target(triple, cpu, tuple(("+" if present[name] else "-") + name for name in differing))

    @staticmethod
    def parse(text: str) -> Target:
        """The target that a text names: ``host``, or ``TRIPLE:CPU+feature-feature`` in LLVM's names.

        ``host`` may stand for the triple, and without ``:CPU...`` the triple's common base is meant. Raises
        UnsupportedError for a name that is unknown, with names near to it.
        """
        triple, _, rest = text.strip().partition(":")
        if triple == "host":
            if not rest:
                return Target.host()
            triple = llvm.llvm().get_process_triple()
        arch = _check_triple(triple)
        if not rest:
            return Target(triple, *BASE[arch])
        cpus, known = llvm.names(triple)
        cpu = _leading_name(rest, cpus)
        if cpu is None:
            name = rest.partition("+")[0]
            raise UnsupportedError(f"LLVM knows no {arch} CPU {name!r}{_near(name, cpus)}")
        target = Target(triple, cpu, _parse_features(rest[len(cpu) :], known, arch))
        fault = llvm.try_machine(triple, cpu, ",".join(target.features))
        if fault is not None:
            raise UnsupportedError(f"LLVM cannot make code for {target}: {fault}")
        if arch == "riscv64" and "d" not in target.isa:
            raise UnsupportedError(f"code for riscv64 needs the features f and d; {target} lacks them (add +f+d)")
        return target

    def __str__(self) -> str:
        return f"{self.triple}:{self.cpu}{''.join(self.features)}"

    @property
    def key(self) -> str:
        """What distinguishes this target in caches: the text that :meth:`parse` reads, and ``fast_math``."""
        return f"{self}{' with fast math' if self.fast_math else ''}"

    @property
    def arch(self) -> str:
        """The architecture as LLVM names it: ``x86_64``, ``aarch64`` or ``riscv64``."""
        return self.triple.partition("-")[0]

    @property
    def isa(self) -> frozenset[str]:
        """The instruction sets of CPU_FLAGS that this CPU has, in LLVM's names."""
        candidates = tuple(CPU_FLAGS[self.arch])
        return llvm.supported_features(self.triple, self.cpu, ",".join(self.features), candidates)

    @property
    def cpu_flags(self) -> tuple[str, ...]:
        """What a CPU must have to run the code, in the names of Linux's /proc/cpuinfo, sorted."""
        return tuple(sorted(CPU_FLAGS[self.arch][name] for name in self.isa))

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector register: 64 (AVX-512), 32 (AVX) or 16."""
        return 64 if "avx512f" in self.isa else 32 if "avx" in self.isa else 16

    @property
    def vector_registers(self) -> int:
        """The number of vector registers: 16 on x86 below AVX-512, else 32."""
        return 16 if self.arch == "x86_64" and "avx512f" not in self.isa else 32

    @property
    def fma(self) -> bool:
        """Whether ``llvm.fma`` on f32 and f64 vectors is an instruction, not a call of libm."""
        return self._instruction("fma")

    @property
    def rounding(self) -> bool:
        """Whether ``llvm.floor``, ``ceil``, ``trunc`` and ``rint`` on vectors are instructions, not calls of libm."""
        return self._instruction("rounding")

    @property
    def f16c(self) -> bool:
        """Whether f16 converts to and from f32 by instructions, not by library calls."""
        return self._instruction("f16c")

    @property
    def scalef(self) -> bool:
        """Whether x86's ``vscalefps`` (x * 2**floor(k)) and ``vrcp14ps`` exist at ``vector_bytes`` and below."""
        return {"avx512f", "avx512vl"} <= self.isa

    @property
    def indefinite(self) -> int:
        """Bytes of the widest vectors that x86's ``cvtps2dq`` takes, which gives the least i32 for what no i32 holds; 0
        on others."""
        return self.vector_bytes if self.arch == "x86_64" else 0

    @property
    def vnni(self) -> bool:
        """Whether x86's ``vpdpbusd`` (sums of four u8 * s8 products) exists at the full ``vector_bytes`` and below."""
        isa = self.isa
        return {"avx512vnni", "avx512vl"} <= isa or ("avxvnni" in isa and "avx512f" not in isa)

    @property
    def byte_permutes(self) -> bool:
        """Whether x86's ``vpermi2b`` (64 bytes, each any of 128) exists."""
        return "avx512vbmi" in self.isa

    @property
    def bfdot(self) -> bool:
        """Whether sums of two bf16 products are one instruction: x86's ``vdpbf16ps`` or AArch64's ``bfdot``."""
        isa = self.isa
        return {"avx512bf16", "avx512vl"} <= isa if self.arch == "x86_64" else "bf16" in isa

    @property
    def dotprod(self) -> bool:
        """Whether AArch64's ``sdot`` and ``udot`` (sums of four 8-bit products) exist."""
        return "dotprod" in self.isa

    @property
    def i8mm(self) -> bool:
        """Whether AArch64's ``usdot`` (sums of four u8 * s8 products) exists."""
        return "i8mm" in self.isa

    @property
    def madd(self) -> bool:
        """Whether x86's ``pmaddwd`` (sums of two s16 * s16 products) exists at the full ``vector_bytes`` and below."""
        wide = {16: "", 32: "avx2", 64: "avx512bw"}[self.vector_bytes]
        return self.arch == "x86_64" and (not wide or wide in self.isa)

    def _instruction(self, name: str) -> bool:
        return name not in llvm.library_calls(self.triple, self.cpu, ",".join(self.features))

    def lanes(self, dtype: DType) -> int:
        """How many elements of a type fill a vector register."""
        return self.vector_bytes // dtype.size

    def machine(self) -> Any:
        """A new llvmlite ``TargetMachine`` that makes position-independent code at the highest level.

        Where LLVM would prefer half of a CPU's widest registers, it is told not to.
        """
        wide = ("-prefer-256-bit", "-prefer-128-bit") if self.vector_bytes == 64 else ()
        features = ",".join(self.features + wide)
        return llvm.create_machine(self.triple, self.cpu, features, opt=3, reloc="pic", codemodel="default")

    def check_host(self) -> None:
        """Raises UnsupportedError if this process's CPU cannot run the code, saying what it lacks."""
        binding = llvm.llvm()
        arch = binding.get_process_triple().partition("-")[0]
        if self.arch != arch:
            raise UnsupportedError(f"code for {self.arch} does not run on this machine's {arch}")
        lacking = sorted(self.isa - Target.host().isa)
        if lacking:
            raise UnsupportedError(f"code for {self} needs {', '.join(lacking)}, which this CPU does not have")


def _check_triple(triple: str) -> str:
    """The architecture of a triple. Raises UnsupportedError for one that the project has no code for."""
    arch, *rest = triple.split("-")
    if arch not in CPU_FLAGS or "linux" not in rest or not triple.isascii():
        accepted = f"accepted are 64-bit Linux triples of {', '.join(CPU_FLAGS)}"
        raise UnsupportedError(f"no code can be made for the triple {triple!r}{_near(triple, _TRIPLES)}; {accepted}")
    return arch


def _near(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=4, cutoff=0.5)
    return f"; near to it are {', '.join(near)}" if near else ""


def _leading_name(text: str, names: frozenset[str]) -> str | None:
    """The longest name that starts ``text`` and is followed by ``+``, ``-`` or the end."""
    fits = (n for n in names if text.startswith(n) and text[len(n) : len(n) + 1] in ("", "+", "-"))
    return max(fits, key=len, default=None)


def _parse_features(text: str, known: frozenset[str], arch: str) -> tuple[str, ...]:
    """``+a-b`` as ``("+a", "-b")``, in that order; of a name given twice the last counts."""
    signs: dict[str, str] = {}
    while text:
        sign, text = text[0], text[1:]
        name = _leading_name(text, known)
        if name is None:
            unknown = text.partition("+")[0]
            raise UnsupportedError(f"LLVM knows no {arch} feature {unknown!r}{_near(unknown, known)}")
        signs.pop(name, None)
        signs[name], text = sign, text[len(name) :]
    return tuple(sign + name for name, sign in signs.items())
