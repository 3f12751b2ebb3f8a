"""Dataclasses whose fields carry a unit and a meaning: to JSON, from JSON, and to a table.

A field without a default is always written, null when nothing is known. One whose default is None
is left out when it is None. One without unit and meaning is not part of the JSON. Reading is lenient:
what is missing in the JSON is None, and what is unknown is ignored, so that folders of other versions
can be read. A value of another type is an error.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, field, fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def value(unit: str, about: str, keys: tuple[str, ...] = (), **options: Any):
    """A field of one value, or a dict of values of the same unit under these keys."""
    return field(metadata={"unit": unit, "about": about, "keys": keys}, **options)


def record(kind: type, **options: Any):
    """A field that holds another dataclass of this sort."""
    return field(metadata={"record": kind}, **options)


def to_json(found: Any) -> dict:
    written = {}
    for each in fields(found):
        content = getattr(found, each.name)
        if not each.metadata or content is None and each.default is None:
            continue
        inner = "record" in each.metadata and content is not None
        written[each.name] = to_json(content) if inner else content
    return written


def parse(text: str | bytes) -> Any:
    """What the JSON says; ValueError where it is none, RecursionError where it is too deep."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text} is no number of JSON")
    return found


def from_json(kind: type, data: dict) -> Any:
    """The dataclass of what the JSON holds; ValueError when a value is not of its field's type."""
    return kind(**{each.name: _read(kind, each, data) for each in fields(kind) if each.metadata})


def _read(kind: type, each: Any, data: dict) -> Any:
    if each.name not in data:
        if each.default is not MISSING:
            return each.default
        return each.default_factory() if each.default_factory is not MISSING else None
    found = data[each.name]
    inner = each.metadata.get("record")
    if inner and isinstance(found, dict):
        return from_json(inner, found)
    if not fits(found, hints(kind)[each.name]):
        raise ValueError(f"{each.name} is {shown(found)}")
    return found


@cache
def hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(kind)


def fits(found: object, hint: Any) -> bool:
    """Whether a value of a JSON file is of this type. Numbers are finite and of a sensible size."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return any(fits(found, each) for each in inner)
    if kind is list:
        return isinstance(found, list) and all(fits(each, inner[0]) for each in found)
    if kind is dict:
        return isinstance(found, dict) and all(fits(each, inner[1]) for each in found.values())
    if hint in (int, float):
        numbers = (int, float) if hint is float else (int,)
        return isinstance(found, numbers) and not isinstance(found, bool) and abs(found) < 2**63
    return hint is Any or isinstance(found, hint)


def shown(found: object) -> str:
    """A wrong value for a message: short, and on one line."""
    text = ascii(found)
    return text if len(text) <= 40 else text[:37] + "..."


def described(kind: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every field: its path in the JSON, its unit, and what it means."""
    for each in fields(kind):
        path, about = prefix + each.name, each.metadata
        if not about:
            continue  # not part of the JSON
        if "record" in about:
            yield from described(about["record"], path + ".")
        else:
            paths = [f"{path}.{key}" for key in about["keys"]] or [path]
            yield from ((name, about["unit"], about["about"]) for name in paths)


def table(found: Iterable[tuple[str, str, str]]) -> str:
    """Fields as a Markdown table; neighbours that share unit and meaning share a row."""
    rows: list[tuple[list[str], str, str]] = []
    for path, unit, about in found:
        if rows and rows[-1][1:] == (unit, about):
            rows[-1][0].append(path)
        else:
            rows.append(([path], unit, about))
    lines = ["| field | unit | meaning |", "| --- | --- | --- |"]
    lines += [f"| {', '.join(f'`{path}`' for path in paths)} | {unit} | {about} |"
              for paths, unit, about in rows]
    return "\n".join(lines) + "\n"
