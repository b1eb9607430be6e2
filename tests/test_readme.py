"""What the README says is so: its example runs and prints what its comments say, and its commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from nnefc.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    printed = re.findall(r"^print\(.*\) +# (.*)$", code, flags=re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert printed and done.stdout.splitlines() == printed
    assert (tmp_path / "digits" / "__init__.py").is_file()


def test_the_commands() -> None:
    named = set(re.findall(r"^    nnefc (\w+) ", README, flags=re.MULTILINE)) | {"ops"}
    assert named == {command.NAME for command in COMMANDS}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make (\w+)", README, flags=re.MULTILINE)) <= targets


def test_every_page_of_the_documentation_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {p.name for p in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"^\| \[(\w+\.md)\]", index, flags=re.MULTILINE))
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
