"""The native side of threads: a barrier for the driver, and a pool of workers that a Python caller shares work with.

The module is LLVM IR text. A word that threads wait on has a neighbour that counts who sleeps on it, so that waking
costs a system call only if somebody does. Whoever waits spins for a while, then blocks on a futex. A worker without
work spins for some 20 microseconds. A thread in a call waits for partners that are computing, so at a barrier it spins
ten times as long; where that was in vain (more threads than free CPUs, a long serial kernel), half as long the next
time, and twice as long again once it was not. How to pause and how to block is all that differs between systems: one
row of SYSTEMS each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from string import Template

from nnefc.codegen.objectfile import emit_object
from nnefc.codegen.target import Target
from nnefc.errors import UnsupportedError

SYNC_BYTES = 192
"""Bytes of ``nnefc_sync``: the error word, then the barrier's words on cache lines of their own."""

PATIENCE = 10
"""How much longer a thread spins at a barrier than one that has no work."""

DOUBT = 6
"""How often at most the time spent spinning at a barrier is halved."""

POOL_SLOT_BYTES = 128
"""Bytes of a pool per thread: slot 0 is the pool's head, slot ``t`` the mailbox of worker ``t``."""


@dataclass(frozen=True)
class System:
    """How code waits on one system: the futex system call's number, a pause instruction, and pauses in 20 us."""

    futex: int
    pause: str
    declare: str
    spins: int


SYSTEMS = {
    "x86_64": System(202, "call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()", 800),
    "aarch64": System(98, "call void @llvm.aarch64.isb(i32 15)", "declare void @llvm.aarch64.isb(i32)", 1000),
    "riscv64": System(98, "fence acquire", "", 4000),
}
"""By architecture, under Linux."""

_POOL = Template("""
$declare
declare i64 @syscall(i64, ...)
declare i32 @llvm.usub.sat.i32(i32, i32)
declare i32 @llvm.umin.i32(i32, i32)
declare i32 @${name}_run(ptr, i32, i32)

; Returns when *word is no longer value, and whether spinning was enough. sleepers counts the threads blocked on word.
define internal i1 @wait_while(ptr %word, ptr %sleepers, i32 %value, i32 %spins) noinline nounwind {
entry:
  %expected = zext i32 %value to i64
  br label %spin
spin:
  %n = phi i32 [ 0, %entry ], [ %n.next, %pause ]
  %now = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %now, %value
  br i1 %same, label %pause, label %spun
pause:
  $pause
  %n.next = add i32 %n, 1
  %more = icmp ult i32 %n.next, %spins
  br i1 %more, label %spin, label %block
spun:
  ret i1 true
block:
  %up = atomicrmw add ptr %sleepers, i32 1 seq_cst
  %wait = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 128, i64 %expected, ptr null, ptr null, i64 0)
  %down = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  %after = load atomic i32, ptr %word acquire, align 4
  %still = icmp eq i32 %after, %value
  br i1 %still, label %block, label %done
done:
  ret i1 false
}

; Sets *word to value and wakes who sleeps on it.
define internal void @post(ptr %word, ptr %sleepers, i32 %value) nounwind {
  %old = atomicrmw xchg ptr %word, i32 %value seq_cst
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %none = icmp eq i32 %asleep, 0
  br i1 %none, label %done, label %wake
wake:
  %woken = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 129, i64 2147483647, ptr null, ptr null, i64 0)
  br label %done
done:
  ret void
}

; The barrier of n threads; nothing to do for one. sync: generation at 64, its sleepers at 68, how often the time to
; spin is halved at 72, threads arrived at 128.
define hidden void @${name}_barrier(ptr %sync, i32 %n) noinline nounwind {
  %several = icmp sgt i32 %n, 1
  br i1 %several, label %arrive, label %done
done:
  ret void
arrive:
  %generation.p = getelementptr i8, ptr %sync, i64 64
  %sleepers = getelementptr i8, ptr %sync, i64 68
  %arrived = getelementptr i8, ptr %sync, i64 128
  %generation = load atomic i32, ptr %generation.p acquire, align 4
  %before = atomicrmw add ptr %arrived, i32 1 seq_cst
  %here = add i32 %before, 1
  %last = icmp eq i32 %here, %n
  br i1 %last, label %release, label %wait
release:
  store atomic i32 0, ptr %arrived monotonic, align 4
  %next = add i32 %generation, 1
  call void @post(ptr %generation.p, ptr %sleepers, i32 %next)
  ret void
wait:
  %doubt.p = getelementptr i8, ptr %sync, i64 72
  %doubt = load atomic i32, ptr %doubt.p monotonic, align 4
  %spins = lshr i32 $patience, %doubt
  %enough = call i1 @wait_while(ptr %generation.p, ptr %sleepers, i32 %generation, i32 %spins)
  %less = call i32 @llvm.usub.sat.i32(i32 %doubt, i32 1)
  %sum = add i32 %doubt, 1
  %more = call i32 @llvm.umin.i32(i32 %sum, i32 $doubt)
  %new = select i1 %enough, i32 %less, i32 %more
  %settled = icmp eq i32 %new, %doubt
  br i1 %settled, label %done, label %learn
learn:
  store atomic i32 %new, ptr %doubt.p monotonic, align 4
  ret void
}

; A pool's head: busy at 0 (1: taken), threads of the call at 4, the call at 8. A mailbox: its state at 0
; (0 idle, 1 work, 2 stop), its sleepers at 4.

; Serves as thread tid until the pool stops.
define void @${name}_worker(ptr %pool, i32 %tid) nounwind {
entry:
  %index = zext i32 %tid to i64
  %offset = mul i64 %index, $slot
  %state.p = getelementptr i8, ptr %pool, i64 %offset
  %sleepers = getelementptr i8, ptr %state.p, i64 4
  %threads.p = getelementptr i8, ptr %pool, i64 4
  %call.p = getelementptr i8, ptr %pool, i64 8
  br label %next
next:
  %found = call i1 @wait_while(ptr %state.p, ptr %sleepers, i32 0, i32 $spins)
  %state = load atomic i32, ptr %state.p acquire, align 4
  %stop = icmp eq i32 %state, 2
  br i1 %stop, label %done, label %work
work:
  %threads = load i32, ptr %threads.p, align 4
  %call = load ptr, ptr %call.p, align 8
  %status = call i32 @${name}_run(ptr %call, i32 %tid, i32 %threads)
  call void @post(ptr %state.p, ptr %sleepers, i32 0)
  br label %next
done:
  ret void
}

; Runs a request: the pool at 0, the call at 8, and at 16 on how many threads, of which the caller is the first. With
; one thread, or if the pool is busy, on the caller alone.
define i32 @${name}_call(ptr %request) nounwind {
entry:
  %request.call = getelementptr i8, ptr %request, i64 8
  %request.n = getelementptr i8, ptr %request, i64 16
  %pool = load ptr, ptr %request, align 8
  %call = load ptr, ptr %request.call, align 8
  %n = load i32, ptr %request.n, align 4
  %several = icmp sgt i32 %n, 1
  br i1 %several, label %take, label %alone
alone:
  %status.alone = call i32 @${name}_run(ptr %call, i32 0, i32 1)
  ret i32 %status.alone
take:
  %taken = cmpxchg ptr %pool, i32 0, i32 1 seq_cst seq_cst
  %free = extractvalue { i32, i1 } %taken, 1
  br i1 %free, label %begin, label %alone
begin:
  %sync.p = getelementptr i8, ptr %call, i64 48
  %sync = load ptr, ptr %sync.p, align 8
  store i32 0, ptr %sync, align 4
  %threads.p = getelementptr i8, ptr %pool, i64 4
  store i32 %n, ptr %threads.p, align 4
  %call.p = getelementptr i8, ptr %pool, i64 8
  store ptr %call, ptr %call.p, align 8
  %end = zext i32 %n to i64
  br label %hand
hand:
  %t = phi i64 [ 1, %begin ], [ %t.next, %hand ]
  %hand.at = mul i64 %t, $slot
  %hand.state = getelementptr i8, ptr %pool, i64 %hand.at
  %hand.sleepers = getelementptr i8, ptr %hand.state, i64 4
  call void @post(ptr %hand.state, ptr %hand.sleepers, i32 1)
  %t.next = add i64 %t, 1
  %hand.more = icmp ult i64 %t.next, %end
  br i1 %hand.more, label %hand, label %run
run:
  %status = call i32 @${name}_run(ptr %call, i32 0, i32 %n)
  br label %join
join:
  %j = phi i64 [ 1, %run ], [ %j.next, %join ]
  %join.at = mul i64 %j, $slot
  %join.state = getelementptr i8, ptr %pool, i64 %join.at
  %join.sleepers = getelementptr i8, ptr %join.state, i64 4
  %joined = call i1 @wait_while(ptr %join.state, ptr %join.sleepers, i32 1, i32 $patience)
  %j.next = add i64 %j, 1
  %join.more = icmp ult i64 %j.next, %end
  br i1 %join.more, label %join, label %leave
leave:
  store atomic i32 0, ptr %pool release, align 4
  ret i32 %status
}

; Ends the workers of a pool of n threads for good and returns 1; returns 0 if a call is under way.
define i32 @${name}_stop(ptr %pool, i32 %n) nounwind {
entry:
  %taken = cmpxchg ptr %pool, i32 0, i32 1 seq_cst seq_cst
  %free = extractvalue { i32, i1 } %taken, 1
  %end = zext i32 %n to i64
  br i1 %free, label %each, label %busy
busy:
  ret i32 0
each:
  %t = phi i64 [ 1, %entry ], [ %t.next, %tell ]
  %more = icmp ult i64 %t, %end
  br i1 %more, label %tell, label %done
tell:
  %at = mul i64 %t, $slot
  %state = getelementptr i8, ptr %pool, i64 %at
  %sleepers = getelementptr i8, ptr %state, i64 4
  call void @post(ptr %state, ptr %sleepers, i32 2)
  %t.next = add i64 %t, 1
  br label %each
done:
  ret i32 1
}
""")


_ALONE = Template("""
declare i32 @${name}_run(ptr, i32, i32)

; Runs the call of a request, at 8, on the caller's thread.
define i32 @${name}_call(ptr %request) nounwind {
  %request.call = getelementptr i8, ptr %request, i64 8
  %call = load ptr, ptr %request.call, align 8
  %status = tail call i32 @${name}_run(ptr %call, i32 0, i32 1)
  ret i32 %status
}
""")


def pool_text(name: str, target: Target) -> str:
    """LLVM IR of the barrier and the pool of the model ``name``: ``NAME_barrier`` (hidden) and ``entry_points``.

    Raises UnsupportedError for a target whose way to block a thread is not known.
    """
    system = SYSTEMS.get(target.arch) if "linux" in target.triple else None
    if system is None:
        raise UnsupportedError(f"no threads for {target.triple}: they need 64-bit Linux on {', '.join(SYSTEMS)}")
    rows = {"pause": system.pause, "declare": system.declare, "spins": system.spins, "futex": system.futex}
    return _POOL.substitute(rows, name=name, slot=POOL_SLOT_BYTES, patience=system.spins * PATIENCE, doubt=DOUBT)


def entry_points(name: str, parallel: bool) -> tuple[str, ...]:
    """What objects export: ``NAME_run`` for C, and what the run-time calls; ``parallel`` models have a pool."""
    return f"{name}_run", f"{name}_call", *((f"{name}_worker", f"{name}_stop") if parallel else ())


@lru_cache(maxsize=8)
def emit_pool(name: str, target: Target, parallel: bool = True) -> bytes:
    """The object file that defines the :func:`entry_points` but ``NAME_run``, which is undefined in it.

    If ``parallel`` it is that of :func:`pool_text`, and libc's ``syscall`` undefined too."""
    return emit_object(pool_text(name, target) if parallel else _ALONE.substitute(name=name), target)
