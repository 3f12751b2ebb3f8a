"""Folded stacks, and the files that hold them.

Folded stacks are the common format of flame-graph tools. Each line stands for all stacks that are
equal: the frames from the outermost to the innermost, joined by ";", then a space and the number of
these stacks. Kernel frames carry the customary suffix _[k].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from results.cell import Cell

Stack = tuple[str, ...]
FOLDER = "profiles"


def file_of(cell: Cell) -> str:
    """All rounds of a cell's profile; like the others, relative to the result folder."""
    return f"{FOLDER}/{cell.key}.folded"


def round_file(cell: Cell, number: int) -> str:
    return f"{FOLDER}/rounds/{cell.key}.r{number:02}.folded"


def dwarf_file(cell: Cell) -> str:
    """The check of the profile with DWARF stack walks."""
    return f"{FOLDER}/dwarf/{cell.key}.folded"


def to_text(stacks: Counter[Stack]) -> str:
    return "".join(f"{';'.join(s)} {n}\n" for s, n in sorted(stacks.items()))


def from_text(text: str) -> Counter[Stack]:
    """ValueError with the number of the first line that is no folded stack."""
    stacks: Counter[Stack] = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdigit():
            raise ValueError(f"line {number} is not `frame;frame count`")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def merge(texts: Iterable[str]) -> str:
    """The folded stacks of several rounds as one."""
    return to_text(sum((from_text(text) for text in texts), Counter()))


def write_round(folder: Path, cell: Cell, number: int, stacks: Counter[Stack]) -> None:
    """This round's stacks in a file of their own, and all rounds' so far in the profile's."""
    write(folder / round_file(cell, number), to_text(stacks))
    rounds = sorted((folder / FOLDER / "rounds").glob(f"{cell.key}.r*.folded"))
    write(folder / file_of(cell), merge(path.read_text(encoding="utf-8") for path in rounds))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
