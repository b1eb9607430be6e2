"""The C header of a compiled package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import Template

from nnefc.codegen.spec import LaunchPlan
from nnefc.codegen.target import Target
from nnefc.runtime import Entry, Port

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
$choice */
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
    uint64_t entry;            /* which set of input shapes; 0 where there is one */
} nnefc_call;
#endif

/* Sizes in bytes. */
#define ${upper}_WEIGHTS_BYTES ${weights}u
#define ${upper}_STATE_BYTES ${state}u
#define ${upper}_STATE_INIT ${state_init}u
#define ${upper}_INPUTS ${inputs}
#define ${upper}_OUTPUTS ${outputs}
#define ${upper}_ENTRIES ${count}

$entries
/* Returns 0, or an error: 1 an index, read from an index tensor, is out of range; -1 call->size or call->entry is wrong
 * (nothing was done). After an error the outputs and the state are defined but meaningless. */
int32_t ${name}_run(const nnefc_call *call, int32_t tid, int32_t nthreads);

#ifdef __cplusplus
}
#endif

#endif
""")


_CHOICE = Template("""\
 *
 * The network was compiled for $count sets of input shapes. call->entry says which one a call is of: 0 and so on. What
 * is named ${upper}_ENTRY_0_... is the first's, and without a number what is enough for each of them.
""")


def header_text(name: str, plan: LaunchPlan, entries: Sequence[Entry], target: Target) -> str:
    """The header that declares ``NAME_run`` and says all that a C caller must know; ``plan`` is of any entry."""
    upper, several = name.upper(), len(entries) > 1
    texts = [_entry_text(f"{upper}_", entries)]
    if several:
        texts += [_entry_text(f"{upper}_ENTRY_{k}_", [entry]) for k, entry in enumerate(entries)]
    return _HEADER.substitute(
        name=name,
        upper=upper,
        target=target,
        weights=plan.weights.nbytes,
        state=plan.state_size,
        state_init=plan.state_init,
        inputs=len(entries[0].inputs),
        outputs=len(entries[0].outputs),
        count=len(entries),
        choice=_CHOICE.substitute(count=len(entries), upper=upper) if several else "",
        entries="\n".join(texts),
    )


def plain(text: str) -> str:
    """A name from a model, made harmless inside comments and strings of C and Python."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "?", text)


def _entry_text(prefix: str, entries: Sequence[Entry]) -> str:
    """What is enough for each of the entries: the largest arena, inputs and outputs; and the most threads."""
    lines = [
        f"#define {prefix}ARENA_BYTES {max(e.arena_size for e in entries)}u",
        f"#define {prefix}MAX_THREADS {max(e.max_threads for e in entries)}",
    ]
    for role in ("inputs", "outputs"):
        for i, alike in enumerate(zip(*(getattr(e, role) for e in entries), strict=True)):
            size = f"#define {prefix}{role[:-1].upper()}_{i}_BYTES {max(port.nbytes for port in alike)}u"
            shape = f"[{', '.join(map(str, alike[0].shape))}]" if len(alike) == 1 else ""
            lines.append(f"{size} /* {plain(alike[0].name)}: {_c_type(alike[0])}{shape} */")
    return "\n".join(lines) + "\n"


def _c_type(port: Port) -> str:
    name = port.dtype.name
    return _C_TYPES.get(name) or ("uint16_t" if name.endswith("float16") else f"{name}_t")
