#!/usr/bin/env python3
"""What `podman run` needs to start a service as compose.yaml says, for scripts/test-images.

    node docker/check_manifests.mjs --json docker/compose.yaml | docker/compose_flags.py SERVICE

prints the flags, the image and its command, each ended by a zero byte. A key that this program does not
know ends it, so that none is left out unseen.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
BAD_USAGE = 2
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+):-([^}]*)\})")


def refuse(message: str) -> NoReturn:
    print(f"compose_flags: {message}", file=sys.stderr)
    sys.exit(BAD_USAGE)


def filled(value: object, env: Mapping[str, str]) -> object:
    """Variables replaced in every text, as Compose does."""
    if isinstance(value, dict):
        return {key: filled(each, env) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, env) for each in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(lambda found: (env.get(found[1]) or found[2]) if found[1] else "$", value)


def _each(flag: str) -> Callable[[list], list[str]]:
    return lambda values: [f"{flag}={value}" for value in values]


def _pairs(flag: str) -> Callable[[dict], list[str]]:
    return lambda values: [f"{flag}={key}={value}" for key, value in values.items()]


def _volume(volume: dict) -> str:
    if volume.keys() != {"type", "source", "target"} or volume["type"] != "bind":
        refuse(f"no flag for the volume {volume}")
    return f"--volume={(HERE / volume['source']).resolve()}:{volume['target']}"


# What a key becomes. Those of None are for Compose itself.
FLAGS: dict[str, Callable | None] = {
    "build": None, "depends_on": None, "profiles": None, "image": None, "command": None,
    "cap_add": _each("--cap-add"), "cap_drop": _each("--cap-drop"),
    "cpuset": lambda cores: [f"--cpuset-cpus={cores}"],
    "entrypoint": lambda words: [f"--entrypoint={json.dumps(words)}"],
    "environment": _pairs("--env"),
    "init": lambda wanted: ["--init"] if wanted else [],
    "network_mode": lambda mode: [f"--network={mode}"],
    "read_only": lambda wanted: ["--read-only", "--read-only-tmpfs=false"] if wanted else [],
    "security_opt": lambda words: _each("--security-opt")([w.removesuffix(":true") for w in words]),
    "stop_grace_period": lambda time: [f"--stop-timeout={time.removesuffix('s')}"],
    "sysctls": _pairs("--sysctl"),
    "tmpfs": _each("--tmpfs"),
    "ulimits": lambda limits: [f"--ulimit={name}={limit['soft']}:{limit['hard']}"
                               for name, limit in limits.items()],
    "user": lambda user: [f"--user={user}"],
    "volumes": lambda volumes: [_volume(volume) for volume in volumes],
}


def flags(service: dict) -> Iterator[str]:
    for key, value in service.items():
        if key not in FLAGS:
            refuse(f"no flag for {key}")
        if FLAGS[key]:
            yield from FLAGS[key](value)
    yield service["image"]
    yield from service.get("command", [])


def main() -> None:
    if len(sys.argv) != 2:
        refuse("usage: compose_flags.py SERVICE <compose.json")
    (file,) = json.load(sys.stdin)
    service = file["services"].get(sys.argv[1])
    if service is None:
        refuse(f"no service {sys.argv[1]!r}")
    sys.stdout.write("".join(f"{word}\0" for word in flags(filled(service, os.environ))))


if __name__ == "__main__":
    main()
