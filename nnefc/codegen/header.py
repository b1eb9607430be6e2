"""The C header of a compiled package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import Template

from nnefc.codegen.spec import LaunchPlan
from nnefc.codegen.target import Target
from nnefc.runtime import Port

_C_TYPES = {"float32": "float", "float64": "double", "bool": "uint8_t"}

_HEADER = Template("""\
/* $name: a neural network compiled by nnefc for $target.
 *
 * The library allocates nothing and keeps nothing between calls: the caller provides all memory. One thread:
 *
 *     const void *inputs[] = {x};
 *     void *outputs[] = {y};
 *     nnefc_call call = {.size = sizeof call, .inputs = inputs, .outputs = outputs,
 *                        .weights = weights, .state = state, .arena = arena};
 *     int32_t error = ${name}_run(&call, 0, 1);
 *
 * weights is the content of weights.bin (mapping the file will do). Where ${upper}_STATE_BYTES is not 0, the network
 * keeps variables: before its first call copy that many bytes from weights + ${upper}_STATE_INIT to state.
 * weights, state and arena are aligned to NNEFC_ALIGNMENT bytes; inputs and outputs to their elements, contiguous in
 * row-major order. Outputs overlap nothing else. Concurrent calls need an arena (and sync) each, and take turns with
 * a state.
 *
 * Several threads: each of n threads calls ${name}_run with the same call, tid 0 .. n - 1 and nthreads = n, and the
 * call has a sync, zeroed before its first use and with error = 0 before each call. All threads return the same error.
 * A caller may have more than one thread where ${upper}_MAX_THREADS > 1; results do not depend on their number.
 */
#ifndef NNEFC_${upper}_H
#define NNEFC_${upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef NNEFC_CALL
#define NNEFC_CALL
#define NNEFC_ALIGNMENT 64

/* What threads share during a call; aligned to NNEFC_ALIGNMENT. */
typedef struct nnefc_sync {
    int32_t error;
    uint32_t barrier[47];
} nnefc_sync;

typedef struct nnefc_call {
    uint64_t size;             /* sizeof(nnefc_call) */
    const void *const *inputs; /* an array of pointers, in the order below */
    void *const *outputs;      /* an array of pointers, in the order below */
    const void *weights;
    void *state;               /* unused where there are no variables */
    void *arena;               /* scratch memory of any content */
    nnefc_sync *sync;          /* unused where nthreads is 1 */
} nnefc_call;
#endif

/* Sizes in bytes. */
#define ${upper}_WEIGHTS_BYTES ${weights}u
#define ${upper}_STATE_BYTES ${state}u
#define ${upper}_STATE_INIT ${state_init}u
#define ${upper}_ARENA_BYTES ${arena}u
#define ${upper}_MAX_THREADS ${threads}

$ports
/* Returns 0, or an error: 1 an index, read from an index tensor, is out of range; -1 call->size is wrong (nothing was
 * done). After an error the outputs and the state are defined but meaningless. */
int32_t ${name}_run(const nnefc_call *call, int32_t tid, int32_t nthreads);

#ifdef __cplusplus
}
#endif

#endif
""")


def header_text(
    name: str, plan: LaunchPlan, inputs: Sequence[Port], outputs: Sequence[Port], target: Target, max_threads: int
) -> str:
    """The header that declares ``NAME_run`` and says all that a C caller must know."""
    return _HEADER.substitute(
        name=name,
        upper=name.upper(),
        target=target,
        weights=plan.weights.nbytes,
        state=plan.state_size,
        state_init=plan.state_init,
        arena=plan.arena_size,
        threads=max_threads,
        ports=_ports(name.upper(), "input", inputs) + _ports(name.upper(), "output", outputs),
    )


def plain(text: str) -> str:
    """A name from a model, made harmless inside comments and strings of C and Python."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "?", text)


def _ports(prefix: str, role: str, ports: Sequence[Port]) -> str:
    lines = [f"#define {prefix}_{role.upper()}S {len(ports)}"]
    for i, port in enumerate(ports):
        c_type = _C_TYPES.get(port.dtype.name) or (
            "uint16_t" if port.dtype.name.endswith("float16") else f"{port.dtype}_t"
        )
        shape = ", ".join(map(str, port.shape))
        size = f"#define {prefix}_{role.upper()}_{i}_BYTES {port.nbytes}u"
        lines.append(f"{size} /* {plain(port.name)}: {c_type}[{shape}] */")
    return "\n".join(lines) + "\n\n"
