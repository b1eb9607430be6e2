"""Pages of reports: one HTML file that needs nothing else, with plots, tables sorted by a click and all figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template
from typing import Any


def page(title: str, content: Traversable, record: Mapping[str, Any], **pieces: str) -> str:
    """The page of a report, with style and script of its own.

    ``content`` is a file of HTML with a ``$NAME`` for each of ``pieces``, which are HTML too. It ends with a script,
    which finds ``record`` as ``data`` and fills its tables by ``table`` (``page.html``). ``record`` must be what JSON
    can hold, so no infinity.
    """
    skeleton = (resources.files("nnefc.tools") / "page.html").read_text(encoding="utf-8")
    filled = Template(content.read_text(encoding="utf-8")).substitute(pieces)
    data = json.dumps(record).replace("<", "\\u003c")
    return Template(skeleton).substitute(title=escape(title), data=data, content=filled)
