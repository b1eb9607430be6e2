"""Texts with random faults: each is refused with a place, or gives a Graph that verifies and survives printing."""

from __future__ import annotations

import random
import re

import pytest
from nnef_cases import TEXTS
from nnef_messages import MESSAGES

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.nnef import format_graph, parse_graph
from nnefc.formats.nnef.dialect import STRICT, TOLERANT
from nnefc.ir.verify import verify

TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|\w+|\s+|.", re.DOTALL)
SOURCES = [*TEXTS.values(), *(text for text, _ in MESSAGES.values())]
TOKENS = sorted({token for text in SOURCES for token in TOKEN.findall(text)})


def mutated(draw: random.Random) -> str:
    """One of the texts of the other tests, with a few tokens replaced, left out, added or exchanged."""
    tokens: list[str] = TOKEN.findall(draw.choice(SOURCES))
    for _ in range(draw.randint(1, 4)):
        at, other = draw.randrange(len(tokens)), draw.randrange(len(tokens))
        change = draw.randrange(4)
        if change == 0:
            tokens[at] = draw.choice(TOKENS)
        elif change == 1 and len(tokens) > 1:
            del tokens[at]
        elif change == 2:
            tokens.insert(at, draw.choice(TOKENS))
        else:
            tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens)


@pytest.mark.parametrize("seed", range(8))
def test_mutations(seed: int) -> None:
    draw = random.Random(seed)
    accepted = 0
    for _ in range(400):
        text = mutated(draw)
        try:
            graph = parse_graph(text, dialect=draw.choice([STRICT, TOLERANT]))
        except (InvalidModelError, UnsupportedError) as error:
            assert error.line and error.column and error.source is not None, (text, str(error))
            assert str(error).count("\n") == 2, (text, str(error))
            continue
        accepted += 1
        verify(graph)
        printed = format_graph(graph)
        again = parse_graph(printed, dialect=TOLERANT)
        assert again == graph or "nan" in printed, text
    assert accepted > 5
