"""Which parts of a manifest's `env` identify the machine: only where they agree may figures mix.

Limits and permissions decide whether a study is possible, not what it costs, and may differ from
shell to shell.
"""

from __future__ import annotations

from collections.abc import Sequence

# For two folders that are compared, and for one that is continued.
COMPARED = ("cpu", "cores", "memory_gib", "virt", "kernel", "os", "mitigations", "somaxconn", "aslr",
            "tools", "hosts")
CONTINUED = ("cpu", "cores", "memory_gib", "virt", "kernel", "os", "mitigations", "aslr", "pinning",
             "siblings", "governor", "quota", "hosts")
LATER = ("mitigations", "siblings", "governor", "quota")  # folders of earlier versions lack these


def differences(a: dict, b: dict, names: Sequence[str]) -> list[str]:
    """What differs, in words; empty where the two are alike."""
    known = [name for name in names if name not in LATER or (name in a and name in b)]
    return [f"{name} ({' / '.join(_words(a.get(name), b.get(name)))})" for name in known
            if a.get(name) != b.get(name)]


def _words(a: object, b: object) -> tuple[str, str]:
    """Both values; of long ones only the parts in which they differ."""
    left, right = _parts(a), _parts(b)
    if len(left) > 1 and len(right) > 1:
        left, right = [p for p in left if p not in right], [p for p in right if p not in left]
    return _short(left), _short(right)


def _parts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{key} {each}" for key, each in value.items()]
    return ["unknown"] if value is None else str(value).split("; ")


def _short(parts: list[str]) -> str:
    text = "; ".join(parts) or "without it"
    return text if len(text) <= 100 else text[:97] + "..."
