"""From a kernel's Python function to an object: lowering and worker processes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import toys

from nnefc.codegen import cache as kernel_cache
from nnefc.codegen import workers
from nnefc.codegen.objectfile import KernelObject, load_objects
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels, warm_up
from nnefc.errors import NnefcError, UnsupportedError
from nnefc.ir.types import DType

HOST = Target.host()
ARM = Target("aarch64-unknown-linux-gnu", "cortex-a76")
HERE = Path(__file__).parent


def run(spec: KernelSpec, arrays: list[np.ndarray], geometry: list[int], begin: int, end: int) -> None:
    """Compile a kernel for this machine and call it."""
    (kernel,) = compile_kernels([spec], HOST, cache=False).values()
    loaded = load_objects([kernel.object])
    g = np.array(geometry, np.int64)
    kinds = [ctypes.c_void_p] * (len(arrays) + 1) + [ctypes.c_int64] * 2
    function = ctypes.CFUNCTYPE(None, *kinds)(loaded.address(kernel.symbol))
    function(*[a.ctypes.data for a in arrays], g.ctypes.data, begin, end)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("fused", [True, False])
def test_a_vector_kernel(lanes: int, fused: bool) -> None:
    spec = toys.Axpy(lanes, fused and HOST.fma)
    x, y = np.random.default_rng(0).standard_normal((2, 5 * 3 * lanes)).astype(np.float32)
    a = np.array([3.0], np.float32)  # of few bits, so that fusing changes nothing much
    jitted, plain = y.copy(), y.copy()
    run(spec, [a, x, jitted], [3 * lanes], 1, 4)
    spec.build(HOST)((a, x, plain), [3 * lanes], 1, 4)
    assert not np.array_equal(plain, y)
    np.testing.assert_allclose(jitted, plain, rtol=0, atol=1e-6)
    outside = np.r_[0 : 3 * lanes, 12 * lanes : 15 * lanes]
    assert np.array_equal(jitted[outside], y[outside])


@pytest.mark.parametrize("dtype", list(DType), ids=str)
def test_every_element_type(dtype: DType) -> None:
    bits = np.random.default_rng(1).integers(0, 2 if dtype is DType.BOOL else 256, 40 * dtype.size, np.uint8)
    copy = np.zeros_like(bits)
    run(toys.Copy(dtype), [bits, np.zeros(1, np.uint8), copy], [], 3, 37)
    inside = slice(3 * dtype.size, 37 * dtype.size)
    assert np.array_equal(copy[inside], bits[inside])
    assert not copy[: inside.start].any() and not copy[inside.stop :].any()


def test_division_follows_numpy() -> None:
    x, y, z = np.array([1.0, -1.0, 0.0, 3.0]), np.array([0.0, 0.0, 0.0, 2.0]), np.zeros(4)
    run(toys.Divide(), [x, y, z], [], 0, 4)
    np.testing.assert_array_equal(z, [np.inf, -np.inf, np.nan, 1.5])


def test_products_are_rounded_before_sums() -> None:
    x = np.random.default_rng(2).standard_normal((3, 1000)).astype(np.float32)
    expected = x[0] * x[1] + x[2]
    exact = (x[0].astype(np.float64) * x[1] + x[2]).astype(np.float32)
    assert (expected != exact).any()
    run(toys.Contractible(), list(x), [], 0, 1000)
    np.testing.assert_array_equal(x[0], expected)


@pytest.mark.parametrize("spec", [toys.Axpy(4), toys.Axpy(16), toys.Copy(DType.F16), toys.Divide()], ids=repr)
def test_objects_for_aarch64(spec: KernelSpec) -> None:
    (kernel,) = compile_kernels([spec], ARM, cache=False).values()
    assert kernel.object[18:20] == (183).to_bytes(2, "little")
    assert set(kernel.undefined) <= {"memcpy", "memset", "memmove"}


def test_the_result_is_reproducible_and_in_order() -> None:
    specs = [toys.Axpy(8), toys.Divide(), toys.Copy(DType.I64), toys.Axpy(8)]
    one = compile_kernels(specs, HOST, jobs=1, cache=False)
    two = compile_kernels(specs[::-1], HOST, jobs=2, cache=False)
    assert list(one) == specs[:3] and list(two) == [specs[0], specs[2], specs[1]]
    assert one == two
    assert len({kernel.symbol for kernel in one.values()}) == 3
    assert all(kernel.symbol.startswith(f"nnefc_{spec.family}_") for spec, kernel in one.items())


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("untypable", NnefcError, "wobble"),
        ("returns", NnefcError, "must return nothing"),
        ("libm", NnefcError, "functions that do not exist where it runs: .*lgamma"),
        ("recursive", NnefcError, "calls itself"),
        ("unsupported", UnsupportedError, "no such tile"),
        ("crash", NnefcError, r"ended by signal 6 \(Aborted\)"),
    ],
)
def test_a_kernel_that_goes_wrong_is_named(how: str, error: type[NnefcError], message: str) -> None:
    with pytest.raises(NnefcError, match=message) as caught:
        compile_kernels([toys.Broken(how)], HOST, cache=False)
    assert type(caught.value) is error and f"Broken(how='{how}')" in caught.value.message


def test_after_a_crash_the_rest_compiles(tmp_path: Path) -> None:
    good = [toys.Divide(), toys.Copy(DType.F32)]
    with pytest.raises(NnefcError):
        compile_kernels([good[0], toys.Broken("crash"), good[1]], HOST, jobs=1, cache=tmp_path)
    counts: list[tuple[int, int]] = []
    compile_kernels(good, HOST, cache=tmp_path, progress=lambda done, total: counts.append((done, total)))
    assert counts == [(1, 2), (2, 2)]  # the kernel before the crash was kept


def test_progress_counts_every_kernel() -> None:
    counts: list[tuple[int, int]] = []
    specs = [toys.Copy(t) for t in (DType.F32, DType.I8, DType.U8)]
    compile_kernels(specs, HOST, cache=False, progress=lambda done, total: counts.append((done, total)))
    assert counts == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_error_in_progress_leaves_no_busy_worker() -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_kernels([toys.Copy(DType.F32), toys.Divide(), toys.Axpy(4)], HOST, jobs=2, cache=False, progress=stop)
    specs = [toys.Axpy(8), toys.Copy(DType.I32)]
    results = compile_kernels(specs, HOST, cache=False)
    assert [r.symbol for r in results.values()] == [kernel_cache.symbol(s, HOST) for s in specs]


def test_several_threads_compile_at_once() -> None:
    specs = [toys.Copy(t) for t in (DType.F32, DType.F64, DType.I32, DType.I64)]
    results: dict[int, dict[KernelSpec, KernelObject]] = {}

    def compile_rotated(k: int) -> None:
        results[k] = compile_kernels(specs[k:] + specs[:k], HOST, jobs=1, cache=False)

    threads = [threading.Thread(target=compile_rotated, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results[0] == results[1] == results[2]


# ---- worker processes


def test_workers_are_kept() -> None:
    warm_up()
    compile_kernels([toys.Divide()], HOST, jobs=1, cache=False)
    before = [w.process.pid for w in workers._pool.idle]
    compile_kernels([toys.Divide()], HOST, jobs=1, cache=False)
    assert [w.process.pid for w in workers._pool.idle] == before


def test_an_idle_worker_that_has_ended_is_replaced() -> None:
    warm_up()
    for worker in workers._pool.idle:
        worker.process.kill()
        worker.process.wait()
    assert compile_kernels([toys.Divide()], HOST, cache=False)


def test_a_worker_that_ends_of_idleness_when_asked_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_kernels([toys.Divide()], HOST, jobs=1, cache=False)
    asked = workers._pool.idle[-1]
    asked.requests.close()  # the worker sees the end of its requests, and ends with status 0
    asked.process.wait()
    asked.process.returncode = None
    asked.requests = open(os.devnull, "wb")  # noqa: SIM115
    monkeypatch.setattr(asked.process, "poll", lambda: None)
    monkeypatch.setattr(asked.process, "wait", lambda: 0)
    assert compile_kernels([toys.Divide()], HOST, jobs=1, cache=False)


def script(text: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a user's program, as a file of its own, in another folder."""
    path = tmp_path / "program.py"
    path.write_text(f"import sys\nsys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]\n{text}")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
    return subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )


COMPILE = """
import toys
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
kernels = compile_kernels([toys.Divide(), toys.Axpy(4)], Target.host())
"""


def test_a_program_needs_no_main_guard_and_gets_no_numba(tmp_path: Path) -> None:
    done = script(COMPILE + "print(len(kernels), 'numba' in sys.modules)", tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("2 False\n", "", 0)
    assert len(list((tmp_path / "cache" / "nnefc" / "kernels").iterdir())) == 2


SETTINGS = """
import ctypes, numpy, toys
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
(kernel,) = compile_kernels([toys.Settings()], Target.host()).values()
loaded = load_objects([kernel.object])
answer = numpy.full(1, 9, "f")
kinds = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2
ctypes.CFUNCTYPE(None, *kinds)(loaded.address(kernel.symbol))(answer.ctypes.data, None, 0, 1)
print(answer[0])
"""


def test_settings_of_the_users_numba_change_nothing(tmp_path: Path) -> None:
    (tmp_path / ".numba_config.yaml").write_text("disable_jit: 1\n")
    done = script(SETTINGS, tmp_path, NUMBA_DISABLE_JIT="1", NUMBA_BOUNDSCHECK="1", NUMBA_OPT="1")
    assert (done.stdout, done.stderr) == ("0.0\n", "")


USERS_NUMBA = """
import numba, numba.core.registry
before = dict(numba.config.__dict__), numba.core.registry.cpu_target.target_context
@numba.njit
def f(x):
    return x + 1
f(1)
kernels = None
exec(COMPILE)
after = dict(numba.config.__dict__), numba.core.registry.cpu_target.target_context
print(before[0] == after[0], before[1] is after[1], f(1.5), numba.njit(lambda x: x * 2)(4))
"""


def test_the_users_numba_is_left_alone(tmp_path: Path) -> None:
    done = script(f"COMPILE = {COMPILE!r}\n{USERS_NUMBA}", tmp_path)
    assert (done.stdout, done.stderr) == ("True True 2.5 8\n", "")


def ended(pid: int, seconds: float = 20) -> bool:
    """Whether a process is gone, or only waits to be collected, within some time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("end", ["pass", "import os; os.kill(os.getpid(), 9)", "import os; os._exit(3)"])
def test_workers_end_with_the_program(tmp_path: Path, end: str) -> None:
    text = "from nnefc.codegen import workers\nprint(*[w.process.pid for w in workers._pool.idle], flush=True)\n"
    done = script(COMPILE + text + end, tmp_path)
    pids = [int(p) for p in done.stdout.split()]
    assert pids and all(ended(pid) for pid in pids)


FORK = """
import os
from nnefc.codegen import workers
child = os.fork()
kernels = compile_kernels([toys.Copy(toys.DType.F32)], Target.host(), cache=False)
assert len(kernels) == 1
if not child:
    workers._pool.close()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_after_a_fork_both_processes_compile(tmp_path: Path) -> None:
    done = script(COMPILE + FORK, tmp_path)
    assert (done.stdout, done.stderr) == ("7\n", "")
