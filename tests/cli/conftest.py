"""How the tests of the command line run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness import Guarded, Reply, in_process_of_its_own


@pytest.fixture(scope="session")
def cli() -> Callable[..., Reply]:
    """Runs ``nnefc ARGUMENTS`` in a process of its own."""
    return in_process_of_its_own


@pytest.fixture(scope="session")
def guarded() -> Iterator[Guarded]:
    """Runs ``nnefc ARGUMENTS`` in a guarded process shared by many cases."""
    runner = Guarded()
    yield runner
    runner.close()
