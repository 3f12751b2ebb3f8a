"""Dataclasses whose fields carry a unit and a meaning: to JSON, from JSON, and to a table.

A field without a default is always written, null when nothing is known. One whose default is None
is left out when it is None. One without unit and meaning is not part of the JSON. Reading is lenient: what is missing in the JSON is None, and what is
unknown is ignored, so that folders of other versions can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, field, fields
from typing import Any


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


def from_json(kind: type, data: dict) -> Any:
    """The dataclass of what the JSON holds."""
    return kind(**{each.name: _read(each, data) for each in fields(kind) if each.metadata})


def _read(each: Any, data: dict) -> Any:
    if each.name not in data:
        if each.default is not MISSING:
            return each.default
        return each.default_factory() if each.default_factory is not MISSING else None
    found = data[each.name]
    inner = each.metadata.get("record")
    return from_json(inner, found) if inner and isinstance(found, dict) else found


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
