"""Seeded mutations of model texts, tensor files and archives."""

from __future__ import annotations

import random
import re

TOKEN = re.compile(r"[A-Za-z_]\w*|\d+\.?\d*(?:[eE][-+]?\d+)?|'[^'\n]*'|\s+|->|.", re.DOTALL)
NUMBERS = (
    "0 1 -1 2 3 5 7 8 9 16 31 32 33 64 100 255 256 1000 4096 65535 65536 100000 16777216 2147483647 2147483648 "
    "4294967296 1099511627776 9223372036854775807 9223372036854775808 -9223372036854775808 0.0 0.5 -0.5 1.5 1e-45 "
    "1e38 1e39 1e308 1e400 -1e400"
).split()
WORDS = (
    "true false x y scalar integer logical constant replicate reflect reflect-even ignore symmetric asymmetric aligned "
    "f16 bf16 f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bool tensor external variable update for in yield if else lengthof "
    "shape stride dilation padding size axes axis groups"
).split()
PUNCTUATION = list("()[]{}<>,;:=+-*/^!&|?'\"#.\\") + ["->", "&&", "||", "<=", "==", "[]", "()", "\0", "\u00e9", "\n"]
EXTREME_BYTES = bytes([0, 1, 2, 127, 128, 254, 255])


def mutated_text(rng: random.Random, text: str, operations: tuple[str, ...] = ()) -> str:
    """The text with one to four small changes, mostly in the operations that follow the last ``external``;
    ``operations`` are names that may take each other's places."""
    start = text.rfind("\n", 0, max(text.rfind("external"), 0)) + 1
    start = text.find("\n", start) + 1 if rng.random() < 0.8 else 0
    head, tail = text[:start], text[start:]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        tail = rng.choice(_TEXT_CHANGES)(rng, tail, operations)
    return head + tail


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to four small changes, most of them near the start."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not changed:
            return b"\0"
        at = rng.randrange(min(len(changed), rng.choice((16, 128, 600, len(changed)))))
        change = rng.randrange(6)
        if change == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            changed[at] = rng.choice(EXTREME_BYTES)
        elif change == 2:
            changed[at : at + 4] = rng.choice((0, 1, 2**31, 2**32 - 1, rng.randrange(2**32))).to_bytes(4, "little")
        elif change == 3:
            del changed[at:]
        elif change == 4:
            del changed[at : at + rng.randrange(1, 9)]
        else:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(changed)


def _change_number(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    """A number becomes an extreme one, or a near one."""
    tokens = TOKEN.findall(text)
    places = [i for i, t in enumerate(tokens) if t[0].isdigit()]
    if not places:
        return text
    at = rng.choice(places)
    near = tokens[at].isdigit() and rng.random() < 0.6
    tokens[at] = str(max(0, int(tokens[at]) + rng.choice((-2, -1, 1, 2, 7)))) if near else rng.choice(NUMBERS)
    return "".join(tokens)


def _change_operation(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    return _replace(rng, text, lambda t: t in operations, operations) if operations else text


def _change_name(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    names = [t for t in TOKEN.findall(text) if t[0].isalpha()] + WORDS
    return _replace(rng, text, lambda t: t[0].isalpha(), names)


def _change_string(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    return _replace(rng, text, lambda t: t[0] == "'", [f"'{w}'" for w in WORDS])


def _replace(rng: random.Random, text: str, wanted, choices) -> str:
    tokens = TOKEN.findall(text)
    places = [i for i, t in enumerate(tokens) if wanted(t)]
    if places:
        tokens[rng.choice(places)] = rng.choice(choices)
    return "".join(tokens)


def _punctuate(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    tokens = TOKEN.findall(text) or [" "]
    at = rng.randrange(len(tokens))
    if rng.random() < 0.5:
        tokens[at] = rng.choice(PUNCTUATION)
    else:
        tokens.insert(at, rng.choice(PUNCTUATION))
    return "".join(tokens)


def _move_token(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    tokens = TOKEN.findall(text) or [" "]
    i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    change = rng.randrange(3)
    if change == 0:
        tokens[i], tokens[j] = tokens[j], tokens[i]
    elif change == 1:
        del tokens[i]
    else:
        tokens.insert(i, tokens[j])
    return "".join(tokens)


def _move_line(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    lines = text.splitlines(keepends=True) or ["\n"]
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(3)
    if change == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif change == 1:
        del lines[i]
    else:
        lines.insert(i, lines[j])
    return "".join(lines)


def _resize_array(rng: random.Random, text: str, operations: tuple[str, ...]) -> str:
    """Take an item from an array of numbers, or repeat one."""
    arrays = list(re.finditer(r"\[([^\[\]]*)\]", text))
    if not arrays:
        return text
    array = rng.choice(arrays)
    items = array[1].split(",")
    at = rng.randrange(len(items))
    items[at : at + 1] = [] if rng.random() < 0.5 else [items[at]] * rng.choice((2, 3, 40))
    return f"{text[: array.start()]}[{','.join(items)}]{text[array.end() :]}"


_TEXT_CHANGES = (
    *(_change_number,) * 8,
    *(_change_operation,) * 3,
    _change_name,
    _change_string,
    _punctuate,
    _move_token,
    _move_line,
    *(_resize_array,) * 2,
)
