"""samples.jsonl: one line per measurement, appended as soon as it was made.

A study may be killed in the middle of a line. The last line counts only once its newline is there:
every reader leaves a torn one out, and the next sample takes its place. A line that is whole but
is no sample is an error, because then something else wrote it. When a measurement was made again,
its last line counts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from results.errors import Unreadable, cannot
from results.sample import Sample
from results.schema import parse

SAMPLES = "samples.jsonl"


def read(folder: Path) -> list[Sample]:
    """The samples so far, the newest of each id; the file is not touched."""
    return [sample for sample, _ in _entries(folder)]


def drop_failed(folder: Path) -> list[Sample]:
    """Take out the failed measurements, which are thus due again; what is left."""
    entries = _entries(folder)
    kept = [(sample, line) for sample, line in entries if sample.valid]
    if len(kept) < len(entries):
        new = folder / (SAMPLES + ".new")
        new.write_bytes(b"".join(line + b"\n" for _, line in kept))
        os.replace(new, folder / SAMPLES)
    return [sample for sample, _ in kept]


def append(folder: Path, sample: Sample) -> None:
    text = json.dumps(sample.to_json(), separators=(",", ":"), allow_nan=False)
    try:
        with open(folder / SAMPLES, "a+b") as out:
            out.seek(0)
            data = out.read()
            out.truncate(len(_whole(data)))
            out.write(text.encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise cannot(f"cannot write {folder / SAMPLES}: {error.strerror}; the same command continues "
                     "once that is possible") from None


def _entries(folder: Path) -> list[tuple[Sample, bytes]]:
    """Samples beside the lines they were read from."""
    path = folder / SAMPLES
    try:
        lines = _whole(path.read_bytes()).splitlines()
    except FileNotFoundError:
        return []
    found: dict[str, tuple[Sample, bytes]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                sample = Sample.from_json(parse(line))
            except KeyError as error:
                raise Unreadable(f"{path}:{number}: not a sample: no {error.args[0]}") from None
            except (ValueError, TypeError, RecursionError, OverflowError) as error:
                raise Unreadable(f"{path}:{number}: not a sample: {error}") from None
            found[sample.id] = (sample, line)
    return list(found.values())


def _whole(data: bytes) -> bytes:
    """Without the line that no newline ends."""
    return data[: data.rfind(b"\n") + 1]
