from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnefc.codegen import objectfile
from nnefc.codegen.objectfile import (
    defined_functions,
    emit_object,
    link_shared,
    load_objects,
    undefined_symbols,
)
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError, UnsupportedError

HOST = Target.host()
ARM = Target("aarch64-unknown-linux-gnu", "cortex-a76")

COPY = """
define hidden i32 @copy(ptr %to, ptr %from, i64 %size) {
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %size, i1 false)
  ret i32 7
}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""
RUN = """
declare hidden i32 @copy(ptr, ptr, i64)
define i32 @run(ptr %to, ptr %from, i64 %size) {
  %r = call i32 @copy(ptr %to, ptr %from, i64 %size)
  ret i32 %r
}
"""


def objects(target: Target = HOST) -> list[bytes]:
    return [emit_object(COPY, target), emit_object(RUN, target)]


def call(address: int) -> None:
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
    source, copy = np.arange(100.0), np.zeros(100)
    assert function(copy.ctypes.data, source.ctypes.data, source.nbytes) == 7
    assert np.array_equal(source, copy)


def test_wrong_code_is_refused() -> None:
    with pytest.raises(NnefcError, match="LLVM does not accept"):
        emit_object("define i32 @f() { ret i64 0 }", HOST)


def test_an_llvmlite_module_is_accepted_too() -> None:
    from llvmlite import ir

    module = ir.Module("m")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "nothing")
    ir.IRBuilder(function.append_basic_block()).ret_void()
    assert defined_functions(emit_object(module, ARM)) == ("nothing",)


@pytest.mark.parametrize("target", [HOST, ARM], ids=["host", "arm"])
def test_symbols(target: Target) -> None:
    copy, run = objects(target)
    assert (defined_functions(copy), undefined_symbols(copy)) == (("copy",), ("memcpy",))
    assert (defined_functions(run), undefined_symbols(run)) == (("run",), ("copy",))
    machine = {"x86_64": 62, "aarch64": 183}[target.arch]
    assert int.from_bytes(copy[18:20], "little") == machine


def test_local_symbols_and_data_are_no_functions() -> None:
    text = "@table = global i32 1\ndeclare void @b()\ndefine internal void @local() noinline { ret void }\n"
    data = emit_object(text + "define void @a() { call void @b()\n call void @local()\n ret void }", HOST, level=0)
    assert defined_functions(data) == ("a",) and undefined_symbols(data) == ("b",)


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x01\x01" + bytes(60), b"MZ" * 100])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(NnefcError, match="not a 64-bit"):
        undefined_symbols(data)


def test_load() -> None:
    loaded = load_objects(objects())
    call(loaded.address("run"))
    call(loaded.address("copy"))
    with pytest.raises(KeyError):
        loaded.address("memcpy")
    loaded.close()


def test_loads_do_not_see_each_other() -> None:
    one = load_objects([emit_object("define i32 @f() { ret i32 1 }", HOST)])
    two = load_objects([emit_object("define i32 @f() { ret i32 2 }", HOST)])
    results = [ctypes.CFUNCTYPE(ctypes.c_int32)(x.address("f"))() for x in (one, two)]
    assert results == [1, 2]
    one.close()
    assert ctypes.CFUNCTYPE(ctypes.c_int32)(two.address("f"))() == 2


def test_many_objects_load_at_once() -> None:
    count = 60
    table = ", ".join(f"i32 {k}" for k in range(1000))
    made = [
        emit_object(
            f"@t = internal constant [1000 x i32] [{table}]\n"
            f"define hidden i32 @f{i}(i64 %k) {{ %a = getelementptr i32, ptr @t, i64 %k\n %x = load i32, ptr %a\n"
            f" %y = add i32 %x, {i}\n ret i32 %y }}",
            HOST,
        )
        for i in range(count)
    ]
    loaded = load_objects(made)
    functions = [ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(loaded.address(f"f{i}")) for i in range(count)]
    assert [f(900) for f in functions] == [900 + i for i in range(count)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((RUN,), "undefined symbols: copy"),
        ((COPY, COPY), "duplicate definition"),
        (("declare void @puts()\ndefine void @f() { call void @puts()\n ret void }",), "undefined symbols: puts"),
    ],
)
def test_what_cannot_be_loaded(texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(NnefcError, match=message):
        load_objects([emit_object(text, HOST) for text in texts])


def link(tmp_path: Path, target: Target, folder: str = "a") -> Path:
    path = tmp_path / folder / "model.so"
    path.parent.mkdir()
    link_shared(objects(target), path, target, ["run"])
    return path


def dynamic_symbols(path: Path) -> list[str]:
    """The names of .dynsym, read without the code under test."""
    import struct

    data = path.read_bytes()
    (sections,) = struct.unpack_from("<Q", data, 40)
    entry, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections + i * entry) for i in range(count)]
    table = next(h for h in headers if h[1] == 11)
    names = data[headers[table[6]][4] :]
    starts = [struct.unpack_from("<I", data, at)[0] for at in range(table[4], table[4] + table[5], 24)]
    return sorted(names[s : names.index(0, s)].decode() for s in starts if s)


def test_link_for_this_machine(tmp_path: Path) -> None:
    path = link(tmp_path, HOST)
    assert dynamic_symbols(path) == ["memcpy", "run"]
    call(ctypes.cast(ctypes.CDLL(str(path)).run, ctypes.c_void_p).value or 0)


def test_linking_is_reproducible(tmp_path: Path) -> None:
    one, two = link(tmp_path, HOST, "a").read_bytes(), link(tmp_path, HOST, "b").read_bytes()
    assert one == two
    assert str(tmp_path).encode() not in one and b".o\0" not in one


def test_cross_link(tmp_path: Path) -> None:
    path = link(tmp_path, ARM)
    assert dynamic_symbols(path) == ["memcpy", "run"]
    assert path.read_bytes()[18:20] == (183).to_bytes(2, "little")
    assert path.read_bytes() == link(tmp_path, ARM, "b").read_bytes()


def test_ziglang_links_where_there_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    call(ctypes.cast(ctypes.CDLL(str(link(tmp_path, HOST))).run, ctypes.c_void_p).value or 0)


@pytest.mark.parametrize(("target", "need"), [(HOST, "needs a C compiler"), (ARM, "needs the package ziglang")])
def test_without_a_linker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Target, need: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(objectfile.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=need) as caught:
        link(tmp_path, target)
    assert "pip install 'nnefc[link]'" in caught.value.message


def test_an_export_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NnefcError, match="no object defines walk"):
        link_shared(objects(), tmp_path / "x.so", HOST, ["run", "walk"])


def test_what_the_linker_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "cc"
    script.write_text("#!/bin/sh\necho no space left >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(script))
    with pytest.raises(NnefcError, match="no space left"):
        link(tmp_path, HOST)


def test_this_road_needs_no_numba() -> None:
    code = "import sys, nnefc.codegen.workers, nnefc.codegen.objectfile; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
