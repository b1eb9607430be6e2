"""A C program that uses a package's header, library and weights."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from skips import skip
from toy_models import counter, picky, ring

from nnefc.codegen.artefact import write_package

if shutil.which("cc") is None:
    skip("C callers of compiled packages")

_HEAD = r"""
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "%(name)s.h"

static void *file(const char *path, size_t size) {
    void *data = aligned_alloc(NNEFC_ALIGNMENT, (size + 63) / 64 * 64);
    FILE *f = fopen(path, "rb");
    if (!data || !f || fread(data, 1, size, f) != size || fgetc(f) != EOF) exit(9);
    fclose(f);
    return data;
}
"""

_SINGLE = r"""
static alignas(NNEFC_ALIGNMENT) char arena[COUNTER_ARENA_BYTES], state[COUNTER_STATE_BYTES];

int main(int argc, char **argv) {
    char *weights = file(argv[1], COUNTER_WEIGHTS_BYTES);
    float x[COUNTER_INPUT_0_BYTES / sizeof(float)] = {2}, y[COUNTER_OUTPUT_0_BYTES / sizeof(float)];
    const void *inputs[COUNTER_INPUTS] = {x};
    void *outputs[COUNTER_OUTPUTS] = {y};
    nnefc_call call = {.size = sizeof call, .inputs = inputs, .outputs = outputs,
                       .weights = weights, .state = state, .arena = arena};
    memcpy(state, weights + COUNTER_STATE_INIT, COUNTER_STATE_BYTES);
    for (int i = 0; i < 3; i++) {
        int32_t error = counter_run(&call, 0, 1);
        printf("%d %g %g\n", (int)error, y[0], y[63]);
    }
    call.size = 8;
    printf("%d\n", (int)counter_run(&call, 0, 1));
    return 0;
}
"""

_THREADED = r"""
enum { N = 1000, THREADS = 4 };
static alignas(NNEFC_ALIGNMENT) char arena[RING_ARENA_BYTES];
static alignas(NNEFC_ALIGNMENT) nnefc_sync sync_words;
static nnefc_call call;

static void *part(void *tid) {
    return (void *)(intptr_t)ring_run(&call, (int32_t)(intptr_t)tid, THREADS);
}

int main(int argc, char **argv) {
    static float x[N], y[N];
    const void *inputs[] = {x};
    void *outputs[] = {y};
    call = (nnefc_call){.size = sizeof call, .inputs = inputs, .outputs = outputs,
                        .weights = file(argv[1], RING_WEIGHTS_BYTES), .arena = arena, .sync = &sync_words};
    for (int round = 0; round < 50; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < N; i++) x[i] = (float)(i + round);
        memset(y, 255, sizeof y);
        sync_words.error = 0;
        for (intptr_t t = 1; t < THREADS; t++) pthread_create(&threads[t], 0, part, (void *)t);
        if (part(0)) return 1;
        for (int t = 1; t < THREADS; t++) {
            void *error;
            pthread_join(threads[t], &error);
            if (error) return 2;
        }
        for (int i = 0; i < N; i++) if (y[i] != (float)((i + 20) % N + round)) return 3;
    }
    puts("equal");
    return 0;
}
"""


def built(folder: Path, name: str, source: str) -> Path:
    program = folder / "program.c"
    program.write_text(_HEAD % {"name": name} + source)
    out = folder / "program"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-pthread"]
    library = [f"-I{folder / name}", f"-L{folder / name}", f"-l:{name}.so", f"-Wl,-rpath,{folder / name}"]
    subprocess.run(["cc", *flags, "-o", out, program, *library], check=True)
    return out


def run(program: Path, weights: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, weights], capture_output=True, text=True, timeout=60)


def test_one_thread_and_state(tmp_path: Path) -> None:
    write_package(counter(), tmp_path / "counter")
    done = run(built(tmp_path, "counter", _SINGLE), tmp_path / "counter" / "weights.bin")
    # s is 10, 11, 12 and x = 2 scales it
    assert (done.returncode, done.stdout) == (0, "0 20 20\n0 22 22\n0 24 24\n-1\n")


def test_threads_of_the_callers_own(tmp_path: Path) -> None:
    write_package(ring(), tmp_path / "ring")
    done = run(built(tmp_path, "ring", _THREADED), tmp_path / "ring" / "weights.bin")
    assert (done.returncode, done.stdout) == (0, "equal\n")


@pytest.mark.parametrize("compiler", [["cc", "-std=c11"], ["cc", "-x", "c++", "-std=c++17"]])
def test_headers_of_two_models_go_together(tmp_path: Path, compiler: list[str]) -> None:
    for name, made in (("ring", ring()), ("picky", picky())):
        write_package(made, tmp_path / name)
    text = '#include "ring/ring.h"\n#include "picky/picky.h"\nint size[PICKY_INPUT_1_BYTES == 256 ? 1 : -1];\n'
    (tmp_path / "both.c").write_text(text)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", f"-I{tmp_path}"]
    subprocess.run([*compiler, *flags, tmp_path / "both.c"], check=True)
    header = (tmp_path / "picky" / "picky.h").read_text()
    assert "#define PICKY_INPUT_1_BYTES 256u /* index: int64_t[32] */" in header
