"""Names of files inside a model: what labels and archive members may be called (NNEF 1.0.5, 4.1.3 and 5.1)."""

from __future__ import annotations

import re

from nnefc.errors import InvalidModelError, Location

_FOREIGN = re.compile(r"[^A-Za-z0-9_\-./\\]")
_LONGEST = 1024


def label_path(label: str, location: Location | None = None) -> str:
    """The path of a label's file inside the model, without ``.dat``, its parts separated by ``/``.

    A backslash separates as a slash does; one leading separator is dropped; empty and ``.`` parts vanish. Raises
    InvalidModelError if the label has characters that the standard forbids, or leads out of the model.
    """
    if not label:
        raise InvalidModelError("the label is empty", location)
    if foreign := _FOREIGN.search(label):
        raise InvalidModelError(
            f"the label {label[:200]!r} contains {foreign.group()!r}; it may have letters, digits and _ - . / \\",
            location,
        )
    if len(label) > _LONGEST:
        raise InvalidModelError(
            f"the label {label[:40]!r}... has {len(label)} characters, more than {_LONGEST}", location
        )
    path = label.replace("\\", "/")
    path = path.removeprefix("/")
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise InvalidModelError(f"the label {label!r} leads out of the model's folder", location)
    if parts[-1] in ("", "."):
        raise InvalidModelError(f"the label {label!r} names a folder, not a file", location)
    return "/".join(p for p in parts if p not in ("", "."))


def member_path(name: str, file: str) -> str | None:
    """The path of an archive's member, its parts separated by ``/``; None for the archive's root.

    Raises InvalidModelError, at ``file``, if the name leads out of the archive.
    """
    path = name.replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in parts or "\0" in path:
        raise InvalidModelError(f"the member {name[:200]!r} leads out of the archive", Location(file))
    return "/".join(p for p in parts if p not in ("", ".")) or None
