"""What applies to which operation: settings, rules that choose them, and recipe files."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnefc.errors import InvalidModelError, Location
from nnefc.ir.graph import Graph
from nnefc.quant.ranges import METHODS, PERCENTILE, Codes
from nnefc.quant.scheme import SCHEMES, Scheme

DEFAULT_METHOD = "mse"
BITS = range(2, 17)
"""What codes may have."""
CHOICES = ("name", "pattern", "op")
"""How a rule says what it is for."""


class RecipeError(InvalidModelError, ValueError):
    """A rule or a setting that does not exist, or is for nothing that the network has."""


@dataclass(frozen=True)
class Setting:
    """How an operation's weights, and the tensors that it computes, are coded. ``percentile`` is that of the method of
    this name."""

    scheme: Scheme = SCHEMES["int8"]
    method: str = DEFAULT_METHOD
    per_channel: bool = True
    percentile: float = PERCENTILE


@dataclass(frozen=True)
class Rule:
    """A setting for the operations, inputs and variables whose name or kind (``op``) fits ``pattern``, where ``*``
    stands for anything; ``by`` is one of CHOICES, or None for a name, a pattern or a kind. ``place`` names the rule in
    messages."""

    pattern: str
    setting: Setting
    by: str | None = None
    place: str = ""

    def fits(self, name: str, kind: str) -> bool:
        """Whether the rule is for an operation (of the kind "external": an input)."""
        if self.by == "name":
            return name == self.pattern
        named = fnmatch.fnmatchcase(name, self.pattern)
        return named if self.by == "pattern" else kind == self.pattern or (self.by is None and named)


@dataclass(frozen=True)
class Recipe:
    """The first of the ``rules`` that fits gives the setting; where none does, ``default`` does. With ``only``,
    operations that fit none of these stay float whatever the rules say."""

    default: Setting = Setting()
    rules: tuple[Rule, ...] = ()
    only: tuple[Rule, ...] = ()

    def settings(self, graph: Graph) -> dict[str, Setting]:
        """The setting of every operation, input and variable, by its (first) name. Raises RecipeError for a rule that
        fits nothing."""
        unused = {*self.rules, *self.only}
        found = {}
        known: dict[str, None] = {}
        for name, names, kind in _named(graph):
            known |= dict.fromkeys((*names, kind))
            fitting, chosen = (
                [rule for rule in rules if any(rule.fits(one, kind) for one in names)]
                for rules in (self.rules, self.only)
            )
            unused -= {*fitting, *chosen}
            found[name] = fitting[0].setting if fitting else self.default
            if self.only and not chosen and kind not in ("external", "variable"):
                found[name] = replace(found[name], scheme=SCHEMES["float"])
        for rule in (*self.rules, *self.only):
            if rule in unused:
                raise RecipeError(_unmatched(rule, known))
        return found


def _named(graph: Graph) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Inputs and operations: the first name, all names, the kind."""
    for v in graph.inputs:
        yield v.name, (v.name,), "external"
    for op in graph.ops:
        outputs = tuple(v.name for v in op.outputs)
        yield outputs[0], tuple(dict.fromkeys((*outputs, *op.origin.names))), op.kind


def _unmatched(rule: Rule, known: Mapping[str, None]) -> str:
    what = {"op": "operation of the kind", None: "operation or input that fits"}.get(
        rule.by, "operation or input called"
    )
    close = difflib.get_close_matches(rule.pattern, list(known), 3)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"{rule.place}{': ' if rule.place else ''}there is no {what} {rule.pattern!r}{hint}"


def recipe_of(
    setting: Setting, exclude: Sequence[str] = (), only: Sequence[str] = (), base: Recipe | None = None
) -> Recipe:
    """A recipe from patterns: what fits ``exclude`` stays float, and so does, with ``only``, what fits none of these.
    The rules of ``base`` come between."""
    plain = replace(setting, scheme=SCHEMES["float"])
    rules = [Rule(p, plain, place="exclude") for p in exclude]
    rules += base.rules if base is not None else ()
    default = base.default if base is not None else setting
    return Recipe(default, tuple(rules), tuple(Rule(p, default, place="only") for p in only))


# ---- settings by name


def setting_of(values: Mapping[str, Any], base: Setting = Setting()) -> Setting:
    """``base`` with other values: scheme, method, per_channel, bits, weight_bits, signed, symmetric, percentile.

    Raises RecipeError, whose message names the key, for what does not exist or is out of range."""
    scheme = base.scheme
    if "scheme" in values:
        scheme = _choice("scheme", values["scheme"], SCHEMES)
    method = base.method
    if "method" in values:
        _choice("method", values["method"], METHODS)
        method = values["method"]
    activations, weights = scheme.activations, scheme.weights
    changes = {k: values[k] for k in ("bits", "signed", "symmetric") if k in values}
    if changes:
        if activations is None:
            raise RecipeError(f"{next(iter(changes))}: the scheme codes no activations")
        activations = _codes(activations, changes)
    if "weight_bits" in values:
        if weights is None:
            raise RecipeError("weight_bits: the scheme codes no weights")
        weights = replace(weights, bits=_bits("weight_bits", values["weight_bits"]))
    per_channel = _flag("per_channel", values.get("per_channel", base.per_channel))
    percentile = values.get("percentile", base.percentile)
    if isinstance(percentile, bool) or not isinstance(percentile, (int, float)) or not 50 < percentile <= 100:
        raise RecipeError(f"percentile: {percentile!r} is no number above 50 and up to 100")
    scheme = replace(scheme, activations=activations, weights=weights)
    return Setting(scheme, method, per_channel, float(percentile))


KEYS = ("scheme", "method", "per_channel", "bits", "weight_bits", "signed", "symmetric", "percentile")
"""What ``setting_of`` knows."""


def _codes(codes: Codes, changes: Mapping[str, Any]) -> Codes:
    if "bits" in changes:
        codes = replace(codes, bits=_bits("bits", changes["bits"]))
    flags = {name: _flag(name, changes[name]) for name in ("signed", "symmetric") if name in changes}
    return replace(codes, **flags)


def _choice(key: str, value: Any, table: Mapping[str, Any]) -> Any:
    if value not in table:
        raise RecipeError(f"{key}: there is no {value!r}; there are {', '.join(table)}")
    return table[value]


def _bits(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in BITS:
        raise RecipeError(f"{key}: {value!r} is no whole number from {BITS.start} to {BITS.stop - 1}")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RecipeError(f"{key}: {value!r} is neither true nor false")
    return value


# ---- files


def load_recipe(path: str | os.PathLike[str], base: Setting = Setting()) -> Recipe:
    """Read a recipe file, in TOML: a table ``default`` of settings, and an array ``rule`` of tables that have one of
    ``name``, ``pattern`` and ``op`` and settings. What is not said is that of ``base``.

    Raises RecipeError with the line."""
    file = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        record = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise RecipeError(f"no TOML: {error}", Location(file, int(line[1]) if line else 0, 1)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {getattr(error, 'strerror', error)}", Location(file)) from None
    places = _Places(file, text)
    for key in record:
        if key not in ("default", "rule"):
            raise RecipeError(f"there is no key {key!r}; there are default and rule", places.top(key))
    default = _table(record.get("default", {}), base, places, None)
    rules = record.get("rule", [])
    if not isinstance(rules, list):
        raise RecipeError("rule must be an array of tables: write [[rule]]", places.top("rule"))
    return Recipe(default, tuple(_rule(item, default, places, n) for n, item in enumerate(rules)))


def _rule(item: Any, default: Setting, places: _Places, number: int) -> Rule:
    chosen = [key for key in CHOICES if isinstance(item, dict) and key in item]
    if len(chosen) != 1 or not isinstance(item[chosen[0]], str):
        raise RecipeError("a rule has one of name, pattern and op, a string", places.rule(number))
    values = {key: value for key, value in item.items() if key not in CHOICES}
    place = f"{places.file}:{places.rule(number, chosen[0]).line}"
    return Rule(item[chosen[0]], _table(values, default, places, number), chosen[0], place)


def _table(values: Any, base: Setting, places: _Places, number: int | None) -> Setting:
    if not isinstance(values, dict):
        raise RecipeError("default must be a table: write [default]", places.top("default"))
    for key in values:
        if key not in KEYS:
            raise RecipeError(f"there is no setting {key!r}; there are {', '.join(KEYS)}", places.rule(number, key))
    try:
        return setting_of(values, base)
    except RecipeError as error:
        raise error.at(places.rule(number, error.message.partition(":")[0])) from None


@dataclass(frozen=True)
class _Places:
    """Where keys stand in a TOML text."""

    file: str
    text: str

    def top(self, key: str) -> Location:
        """The line of a table, or of a key outside of all."""
        return self._find(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}\b", 0)

    def rule(self, number: int | None, key: str = "") -> Location:
        """The line of a key of the rule ``number`` (None: the default), or of the rule itself."""
        pattern = r"\s*\[\s*default" if number is None else r"\s*\[\[\s*rule"
        start = self._find(pattern, 0, number or 0)
        if not key or not start.line:
            return start
        found = self._find(rf"\s*[\"']?{re.escape(key)}\b", start.line)
        return found if found.line else start

    def _find(self, pattern: str, after: int, skip: int = 0) -> Location:
        for n, line in enumerate(self.text.splitlines(), 1):
            if n > after and re.match(pattern, line):
                if not skip:
                    return Location(self.file, n, 1)
                skip -= 1
        return Location(self.file)
