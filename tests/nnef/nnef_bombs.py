# ruff: noqa: E501 (a row of the table is a line)
"""Texts made to take time or memory without end. Run as a program: reads them all, one JSON verdict per line."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from nnef_texts import document

ONE = "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { %s }"
DOUBLED = " ".join(f"a{i + 1} = a{i} + a{i};" for i in range(60))
NESTED = " ".join(f"a{i + 1} = [a{i}, a{i}];" for i in range(40))
SPEC = "integer" + "[]" * 41
CALLS = "".join(
    f"fragment f{i}(x: tensor<scalar>) -> (y: tensor<scalar>) {{ y = f{i + 1}(f{i + 1}(x)); }}" for i in range(40)
)
IDENTITIES = CALLS + "fragment f40(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; }"
PASSED = (
    "fragment f(x: tensor<scalar>, v: integer[], n: integer) -> (y: tensor<scalar>) "
    "{ y = f(x, v = v + [n], n = n - 1) if n > 0 else reshape(x, shape = v[:1] + [4]); }"
)
GENERIC = (
    "fragment f<?>(x: tensor<?>) -> (y: " + "tensor<?>" + "[]" * 40 + ") { a0 = x; " + NESTED + " y = a40; } "
    "fragment g(x: tensor<scalar>) -> (y: tensor<scalar>) { a = f<scalar>(x); y = x; }"
)

REFUSED = {
    "doubling arrays": (document("y = f(x);", ONE % f"a0 = [1]; {DOUBLED} y = x;"), "items in all"),
    "doubling strings": (document("y = f(x);", ONE % f"a0 = 'a'; {DOUBLED} y = x;"), "items in all"),
    "repeated array": (document("y = reshape(x, shape = [1] * 1000000000000);"), "items in all"),
    "repeated string": (document("y = reshape(x, shape = [length_of('ab' * 1000000000000)]);"), "items in all"),
    "deep comparison": (
        document("y = f(x);", ONE % f"a0 = 1; {NESTED} b0 = a40; y = x if a40 in [b0] else x;"),
        "items in all",
    ),
    "deep result": (document("y = g(x);", GENERIC), "items in all"),
    "long membership": (
        document("y = f(x);", ONE % "r = range_of([1] * 3000000); y = add_n([for i in r if -1 in r yield x]);"),
        "items in all",
    ),
    "long loop": (document("y = add_n([for i in range_of([1] * 5000000) yield x]);"), "steps"),
    "loops in loops": (
        document("y = f(x);", ONE % "r = range_of([1] * 3000); y = add_n([for i in r yield add_n([for j in r yield x])]);"),
        "steps",
    ),
    "many operands": (document("y = add_n([x] * 5000000);"), "add_n takes at most 65536 tensors"),
    "identities": (document("y = f0(x);", IDENTITIES), "steps"),
    "endless": (document("y = f(x);", ONE % "y = f(x) + f(x);"), "'f' calls itself"),
    "endless argument": (document("y = f(x);", ONE % "y = f(relu(x));"), "'f' calls itself"),
    "growing argument": (document("y = f(x, v = [1], n = 400) + f(x, v = [1], n = 1000000);", PASSED), "'f' calls itself"),
    "many operations": (
        document("y = f(x);", ONE % "r = range_of([1] * 150); y = add_n([for i in r yield add_n([for j in r yield -x])]);"),
        "operations",
    ),
    "square of tokens": (document("y = add_n([" + "x," * 300_000 + "x]);"), "tokens"),
    "long text": (document("y = x; #" + "z" * (16 << 20)), "characters"),
    "long name": (document(f"{'z' * 2000} = x; y = x;"), "an identifier has 2000 characters"),
    "brackets": (document("y = " + "(" * 200_000 + "x" + ")" * 200_000 + ";"), "brackets nest"),
    "signs": (document("y = " + "-" * 200_000 + "x;"), "nests more than 64 deep"),
    "choices": (document("y = " + "x if true else " * 50_000 + "x;"), "nests more than 64 deep"),
    "subscripts": (document("y = x" + "[0]" * 50_000 + ";"), "nests more than 64 deep"),
    "right-hand powers": (document("y = " + "x ^ (" * 65 + "x" + ")" * 65 + ";"), "brackets nest"),
    "array types": (document("y = x;", f"fragment f(x: integer{'[]' * 50_000}) -> (y: tensor<scalar>);"), "type nests"),
    "tuple types": (document("y = x;", f"fragment f(x: {'(integer, ' * 900}integer{')' * 900}) -> (y: tensor<scalar>);"), "nest"),
    "left-hand side": (document("[" * 900 + "y" + "]" * 900 + " = x;"), "brackets nest"),
    "digits": (document(f"y = add(x, {'1' * 1_000_000});"), "a number has 1000000 characters"),
    "digits in a list": (document(f"y = reshape(x, shape = [{'1, ' * 20}{'1' * 1000}]);"), "a number has 1000 characters"),
    "power": (document("y = reshape(x, shape = [10 ^ 1000000000000]);"), "does not fit into 64 bits"),
}  # fmt: skip
"""Name: text, and a part of the message."""

ACCEPTED = {
    "long constant": document(f"y = constant(shape = [1000000], value = [{'0.125, ' * 999_999}1.0]);"),
    "long sum": document("y = " + " + ".join(["x"] * 5000) + ";"),
    "long sum of numbers": document("y = leaky_relu(x, alpha = " + " + ".join(["1.0"] * 50_000) + ");"),
    "many statements": document("\n".join(f"t{i + 1} = relu(t{i});" for i in range(5000)), inputs="x").replace("t0", "x").replace("t5000", "y"),
    "recursion": document("y = f(x, v = [1], n = 400);", PASSED),
    "long comment": document("y = relu(x); #" + "z" * (4 << 20)),
    "many names alike": document("y = add_n([for i in range_of([1] * 3000) yield -x]);"),
    "deep but within bounds": document("y = " + "(" * 60 + "x" + ")" * 60 + " + " + "-" * 60 + "x;"),
}  # fmt: skip


def peak_memory() -> int:
    """The most memory that this program has held, in bytes; ``ru_maxrss`` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    """Read every text; say what became of it, the CPU seconds taken, and the most memory so far in bytes."""
    from nnef_texts import verdict

    for name, text in [*((n, t) for n, (t, _) in REFUSED.items()), *ACCEPTED.items()]:
        start = time.process_time()
        found = verdict(text)
        seconds = time.process_time() - start
        memory = peak_memory()
        print(json.dumps([name, found, seconds, memory]), flush=True)


if __name__ == "__main__":
    main()
