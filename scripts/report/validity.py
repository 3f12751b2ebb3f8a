"""What of a result folder cannot be relied on, and what it was measured with.

Failed gates and measurements, absent counters, the A/A series, the check of stack walks, and the
machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, median

from report import analysis
from report.analysis import Row
from report.content import Findings, left_out_note, left_out_words
from report.run import Run
from report.tables import NOTHING, Table, Text, micros, number, percent, times
from results.sample import Sample, flags_of, left_out, usable

# The kinds of measurement besides timing, and what the table calls them.
KINDS = {"syscalls": "system calls", "profile": "profile", "dwarf": "profile, DWARF"}
GATES = ("A measurement that fails a gate is made again, and the better one is kept. Rounds that "
         "failed a gate are left out where at least half of the cell's rounds did not; else they "
         "count, and a star marks the figures. All of them are listed here. steal: the host gave "
         "more than 1 % of the time to others; foreign_load: other programs used more than a tenth "
         "of a core; missing_connections: not all were open; socket_errors, wrong_counts, "
         "cpu_clocks_differ: wrk, the server and the kernel disagree by more than 2 %; few_stacks: "
         "perf recorded fewer stacks than the CPU time calls for; silent_host: one of several client "
         "hosts got no answer; lost_host: a host was lost, so the measurement failed.")


def gates(findings: Findings) -> list[Table]:
    """What failed, timing cells first; no table where nothing did."""
    found = (flagged(findings.rows), other_measurements(findings.run))
    return [table for table in found if table.rows]


def passed(findings: Findings) -> str:
    """What stands in place of these tables."""
    others = any(map(findings.run.of_kind, KINDS))
    kinds = (["timing cell"] if findings.rows else []) + (
        ["profile and count of system calls"] if others else [])
    return f"Every {' and every '.join(kinds)} passed its gates."


def flagged(found: list[Row]) -> Table:
    """Cells that failed a gate after their retry; kept, not deleted."""
    bad = [row for row in found if row.flags or row.rounds_left_out or not row.valid
           or row.failures]
    return Table([Text("cell"), Text("valid rounds"), Text("flags")],
                 [[Text(row.cell.label), Text(f"{row.valid_rounds} of {row.rounds}"),
                   Text("; ".join(row.flags + left_out_note(row) + row.failures) or "invalid",
                        tone="" if row.valid else "invalid")] for row in bad])


def other_measurements(run: Run) -> Table:
    """Profiles and counts of system calls that failed, or failed a gate."""
    table = Table([Text("measurement"), Text("cell"), Text("valid rounds"), Text("flags")])
    for kind, words in KINDS.items():
        cells = sorted(run.of_kind(kind).items(), key=lambda found: found[0].sort_key())
        for cell, samples in cells:
            if faults := _faults(samples):
                valid = sum(s.valid for s in samples)
                table.rows.append([Text(words), Text(cell.label),
                                   Text(f"{valid} of {len(samples)}"),
                                   Text("; ".join(faults), tone="" if valid else "invalid")])
    return table


def _faults(samples: list[Sample]) -> list[str]:
    unused = left_out(samples)
    words = left_out_words(len(unused), len(samples), flags_of(unused))
    errors = sorted({s.error or "failed" for s in samples if not s.valid})
    return [flag for flag in flags_of(usable(samples)) if flag != "failed"] + words + errors


def uncounted(run: Run) -> str:
    """Which counters the machine lacks; empty when it has all."""
    lacking = (run.manifest.get("env") or {}).get("uncounted")
    return (f"This machine does not count: {', '.join(lacking)}. These figures are absent, and no "
            "gate judged them.") if lacking else ""


def hosts(run: Run) -> str:
    """Where server and load ran, if on several machines."""
    found = (run.manifest.get("env") or {}).get("hosts") or {}
    return f"Hosts: {'; '.join(f'{name} ({about})' for name, about in found.items())}." if found else ""


def clients(run: Run) -> Table:
    """What each host of several did, over all timed cells; no row where one machine did it all."""
    parts: dict[str, list[dict]] = {}
    for samples in run.of_kind("load").values():
        for sample in filter(lambda s: s.valid and s.clients, samples):
            for host, part in sample.clients.items():
                parts.setdefault(host, []).append(part)
    table = Table([Text("client host"), Text("cells"), Text("requests"), Text("errors"),
                   Text("p99 µs", "median of wrk's own figure on this host")])
    for host, found in parts.items():
        slow = [part["p99_us"] for part in found if "p99_us" in part]
        table.rows.append([Text(host), Text(number(len(found), 0)),
                           *(Text(number(sum(part.get(name, 0) for part in found), 0))
                             for name in ("requests", "errors")),
                           Text(micros(median(slow)) if slow else NOTHING)])
    return table


def same_against_same(found: list[Row], seed: int) -> Table:
    """The A/A series: one variant measured twice in each round. It must show no difference."""
    table = Table([Text("variant"), Text("first µs"), Text("second µs"), Text("ratio"),
                   Text("interval"), Text("p", "sign-flip, not adjusted")])
    for row, twin in analysis.twins(found):
        if row.cpu_us and twin.cpu_us:
            same = analysis.paired(row, twin, seed)
            table.rows.append(
                [Text(twin.cell.label), Text(micros(twin.cpu_us)), Text(micros(row.cpu_us)),
                 Text(times(same.ratio)),
                 Text(NOTHING if same.low is None else f"[{same.low:.3f}, {same.high:.3f}]"),
                 Text(NOTHING if same.p is None else f"{same.p:.3g}")])
    return table.without_empty_columns()


def stack_walks(run: Run) -> Table:
    """Profiles beside the same cells recorded with the other way to walk a stack."""
    table = Table([Text("profile")] +
                  [Text(f"{what}, {walk}", note) for what, note in (
                      ("timer", "owner share of the timer group"),
                      ("broken stacks", "stacks that do not reach the root"),
                      ("stacks", "")) for walk in ("frame pointers", "DWARF")])
    for cell, checks in sorted(run.of_kind("dwarf").items(), key=lambda found: found[0].sort_key()):
        plain = usable(run.of_kind("profile").get(cell, []))
        both = [[s for s in samples if s.shares] for samples in (plain, usable(checks))]
        if all(both):
            table.rows.append([Text(cell.label), *[
                show(samples) for show in (_timer_owned, _broken, _sampled) for samples in both]])
    return table


def _timer_owned(samples: list[Sample]) -> Text:
    return Text(percent(fmean(s.shares["timer"]["owner"] for s in samples)))


def _broken(samples: list[Sample]) -> Text:
    return Text(percent(fmean(s.unresolved for s in samples)))


def _sampled(samples: list[Sample]) -> Text:
    return Text(number(sum(s.samples for s in samples), 0))


def environment(run: Run) -> Table:
    """The machine and the build, as the manifest has them."""
    facts = dict(_flat("", run.manifest.get("env") or {}))
    facts |= dict(_flat("scripts ", run.manifest.get("git") or {}))
    facts |= dict(_flat("binary ", run.manifest.get("binary") or {}))
    plan = run.manifest.get("plan") or {}
    facts |= {key: str(plan[key]) for key in ("window_s", "settle_s") if key in plan}
    facts["seed"] = str(run.manifest.get("seed", ""))
    return Table([Text("fact"), Text("value")],
                 [[Text(key), Text(value)] for key, value in facts.items()])


def _flat(prefix: str, facts: dict) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key} ", value)
        elif isinstance(value, list):
            yield prefix + key, " – ".join(map(str, value)) or "none"
        else:
            yield prefix + key, "unknown" if value is None else str(value)
