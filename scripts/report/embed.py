"""The data of the page's flame graphs: one tree, its profiles as sparse columns, as JSON."""

from __future__ import annotations

import json

from report.content import Findings, unit
from report.profiles import Profile, Tree, spread
from results.groups import GROUPS, Groups


def flame_data(tree: Tree, folders: list[Findings], start: tuple[str, str] | None) -> dict:
    """Names once, nodes as parent and name index, profiles as steps from node to node."""
    names = list(dict.fromkeys(tree.names))
    index = {name: i for i, name in enumerate(names)}
    return {"names": names, "parent": tree.parents, "name": [index[n] for n in tree.names],
            "group": _owners(tree), "groups": GROUPS, "start": start,
            "profiles": [_profile(tree, folder, p) for folder in folders for p in folder.profiles]}


def as_json(data: dict) -> str:
    """Safe inside a script element: no "<" can end it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _owners(tree: Tree) -> list[int]:
    """The owner group of each node: its own, or that of the nearest caller that has one."""
    rules = Groups()
    found: list[int] = []
    for name, parent in zip(tree.names, tree.parents):
        own = rules.of(name)
        found.append(GROUPS.index(own) if own else found[parent] if parent >= 0
                     else GROUPS.index("other"))
    return found


def _profile(tree: Tree, folder: Findings, profile: Profile) -> dict:
    nodes = sorted(profile.counts)
    cell = profile.cell
    return {"key": folder.key(profile), "label": folder.label(profile), "folder": folder.name,
            "group": f"{folder.title}: {cell.scenario}" if folder.title else cell.scenario,
            "short": cell.timeouts == "short", "connections": cell.connections,
            "variant": cell.variant, "unit": unit(cell.scenario),
            "us": round(profile.us_per_request, 5), "samples": profile.total,
            "rounds": max(1, len(profile.rounds)), "ids": _steps(nodes),
            "self": [profile.counts[n] for n in nodes], "spread": _spread(tree, profile)}


def _steps(nodes: list[int]) -> list[int]:
    return [node - before for before, node in zip([0] + nodes, nodes)]


def _spread(tree: Tree, profile: Profile) -> dict | None:
    """Half-widths in whole nanoseconds per request; those that round to nothing are left out."""
    widths = {n: (round(s * 1000), round(t * 1000)) for n, (s, t) in spread(tree, profile).items()}
    nodes = sorted(n for n, pair in widths.items() if any(pair))
    if not widths:
        return None
    return {"ids": _steps(nodes), "self": [widths[n][0] for n in nodes],
            "total": [widths[n][1] for n in nodes]}
