"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from skips import skip

ROOT = Path(__file__).resolve().parent.parent

os.environ["XDG_CACHE_HOME"] = str(ROOT / ".cache")
"""Compiled kernels are shared by all tests, and by the next run: entries are found by all that they are made from."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and oracles that lies beside the project; ``NNEFC_SHARED`` says where."""
    folder = Path(os.environ.get("NNEFC_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        skip("real models and recorded answers")
    return folder


@pytest.fixture
def drawn_page(tmp_path: Path) -> Callable[[str, str], str]:
    """Have a browser draw a page of HTML, run a script after its own, and give what the document is then."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser = next((path for path in found if path is not None), None)
    if browser is None:
        skip("pages in a browser")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]

    def draw(page: str, script: str) -> str:
        file = tmp_path / "page.html"
        file.write_text(f"{page}<script>{script}</script>", encoding="utf-8")
        command = [browser, *options, "--dump-dom", file.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return draw


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give text to be printed at the end of the run, by whichever process the test is run."""
    return lambda text: record_property("told", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests had to tell."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, text in report.user_properties if report.when == "call" else ():
                if name == "told":
                    terminalreporter.section(report.nodeid, sep="-")
                    terminalreporter.write_line(text)
