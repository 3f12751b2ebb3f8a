#!/usr/bin/env python3
"""Loads the server of a Kubernetes cluster from several pods at once, and adds up what they saw.

    docker/k8s/load_pods.py --pods 4 --connections 2500 --duration 10

It applies the server (docker/k8s) and an Indexed Job of wrk pods (docker/k8s/load), waits until all
pods run, tells them the moment to start, and collects their results. The Job is deleted at the end;
the server stays. Needs Python 3.11 and kubectl, with the right to exec into pods. Exit codes: 0 done,
2 bad usage, 3 the cluster cannot, 4 measured but invalid, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER, LOAD = "idlewheel", "idlewheel-load"  # names and labels of what the manifests make
ADMIN_PORT = 9000
KUBECTL_LIMIT_S = 60
READY_LIMIT_S = 180.0  # for images to be pulled and pods to be scheduled
END_LIMIT_S = 60.0  # for pods to end after their time is over
POLL_S = 0.5
LEAD_S, LEAD_PER_POD_S = 3.0, 0.2  # to reach all pods before they start
LEAST_OVERLAP = 0.95  # share of its duration that each pod must have run beside all others
HOPELESS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName",
            "CreateContainerConfigError", "CreateContainerError"}
DONE, BAD_USAGE, CANNOT, INVALID, INTERRUPTED = 0, 2, 3, 4, 130
PERCENTILES = (50, 90, 99, 99.9)


class Stop(Exception):
    """Ends the program with one line and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


# ---- adding up ----


def merged(pods: list[dict]) -> dict:
    """The figures of all pods as those of one load."""
    starts = [pod["started_ms"] / 1000 for pod in pods]
    lengths = [pod["duration_us"] / 1e6 for pod in pods]
    common = min(s + n for s, n in zip(starts, lengths)) - max(starts)
    return {
        "pods": len(pods),
        "requests": sum(pod["requests"] for pod in pods),
        "rps": sum(pod["requests"] / n for pod, n in zip(pods, lengths)),
        "bytes": sum(pod["bytes"] for pod in pods),
        "errors": {kind: sum(pod["errors"][kind] for pod in pods) for kind in pods[0]["errors"]},
        "latency_us": latencies(pods),
        "overlap": max(0.0, common) / max(lengths),
        "started_within_ms": round((max(starts) - min(starts)) * 1000),
    }


def latencies(pods: list[dict]) -> dict:
    """Percentiles of all requests, from those of each pod.

    The requests of a pod between two of its ranks count with the latency at the upper one. So a
    percentile is too high by one step of the ranks at most (0.5 %, and 0.01 % near the end).
    """
    found: dict = {"kind": "wrk_co_corrected"}
    steps = sorted(step for pod in pods for step in _steps(pod))
    total = sum(weight for _, weight in steps)
    for wanted in PERCENTILES:
        found[f"p{wanted:g}"] = _at(steps, total * wanted / 100)
    return found | {"max": steps[-1][0] if steps else None}


def _steps(pod: dict) -> list[tuple[int, float]]:
    """Latency and number of requests, for each step of the pod's ranks."""
    points = pod["latency_us"]
    before = [0.0, *(rank for rank, _ in points)]
    return [(value, pod["requests"] * (rank - last) / 100)
            for (rank, value), last in zip(points, before)]


def _at(steps: list[tuple[int, float]], wanted: float) -> int | None:
    """The latency that so many requests did not exceed."""
    seen = 0.0
    for value, weight in steps:
        seen += weight
        if seen >= wanted - 1e-6:
            return value
    return None


def problem(found: dict) -> str | None:
    """Why the figures must not be used."""
    if not found["requests"]:
        return "no request was answered"
    if found["overlap"] < LEAST_OVERLAP:
        return (f"the pods ran together for {found['overlap']:.0%} of their time only: they started "
                f"within {found['started_within_ms']} ms; do the clocks of the nodes agree?")
    if errors := {kind: n for kind, n in found["errors"].items() if n}:
        return "wrk saw errors: " + ", ".join(f"{n} {kind}" for kind, n in errors.items())
    return None


def result_of(pod: str, log: str) -> dict:
    """The line of histogram.lua in a pod's log."""
    lines = [line for line in log.splitlines() if line.startswith(LOAD + " {")]
    try:
        return json.loads(lines[-1].partition(" ")[2])
    except (IndexError, ValueError):
        last = (log.strip().splitlines() or ["nothing"])[-1]
        raise Stop(f"pod {pod} gave no result; it said last: {last}", INVALID) from None


# ---- the cluster ----


@dataclass(frozen=True)
class Cluster:
    """kubectl in the chosen namespace."""

    namespace: str | None

    def ask(self, *words: str, limit_s: float = KUBECTL_LIMIT_S) -> str:
        where = ["--namespace", self.namespace] if self.namespace else []
        try:
            ended = subprocess.run(["kubectl", *where, *words], capture_output=True, text=True,
                                   stdin=subprocess.DEVNULL, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Stop(f"kubectl {words[0]} did not end within {limit_s:g} s", CANNOT) from None
        if ended.returncode:
            said = (ended.stderr.strip().splitlines() or ["no reason"])[-1]
            raise Stop(f"kubectl {' '.join(words[:2])} failed: {said}", CANNOT)
        return ended.stdout

    def pods(self, name: str, owner: str | None = None) -> list[dict]:
        """The pods with this label; with an owner, its alone."""
        found = json.loads(self.ask("get", "pods", "-l", f"app.kubernetes.io/name={name}",
                                    "-o", "json"))["items"]
        return [pod for pod in found if owner is None or owner in
                {each["uid"] for each in pod["metadata"].get("ownerReferences", [])}]

    def run_in(self, pod: str, script: str) -> str:
        return self.ask("exec", pod, "--", "sh", "-c", script)


def overlay(folder: Path, args: argparse.Namespace) -> None:
    """A kustomization of the load with the numbers that were asked for; JSON is YAML too."""
    env = {"CONNECTIONS": args.connections, "SECONDS_OF_LOAD": args.duration,
           "TARGET": f"http://{SERVER}:4242{args.path}"}
    patch = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": LOAD}, "spec": {
        "completions": args.pods, "parallelism": args.pods,
        "template": {"spec": {"containers": [{"name": "wrk", "env": [
            {"name": name, "value": str(value)} for name, value in env.items()]}]}}}}
    (folder / "kustomization.yaml").write_text(json.dumps({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [os.path.relpath(HERE / "load", folder.resolve())],
        "patches": [{"patch": json.dumps(patch)}]}))


def start_server(cluster: Cluster) -> None:
    cluster.ask("apply", "-k", str(HERE))
    cluster.ask("rollout", "status", f"deployment/{SERVER}", f"--timeout={READY_LIMIT_S:g}s",
                limit_s=READY_LIMIT_S + KUBECTL_LIMIT_S)


def create_job(cluster: Cluster, folder: str) -> str:
    """The uid of the new Job."""
    delete_job(cluster, folder)  # an earlier one that was kept
    cluster.ask("apply", "-k", folder)
    return json.loads(cluster.ask("get", "job", LOAD, "-o", "json"))["metadata"]["uid"]


def delete_job(cluster: Cluster, folder: str) -> None:
    """With its pods and its ConfigMap; back when they are gone."""
    cluster.ask("delete", "-k", folder, "--ignore-not-found", "--cascade=foreground")


def wait_until_ready(cluster: Cluster, uid: str, count: int) -> list[str]:
    """The names of the pods, once all run."""
    limit = time.monotonic() + READY_LIMIT_S
    while True:
        pods = cluster.pods(LOAD, uid)
        running = [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]
        if len(running) == count:
            return sorted(running)
        for pod in pods:
            _refuse_hopeless(cluster, pod)
        if time.monotonic() > limit:
            states = ", ".join(f"{pod['metadata']['name']}: {_state(pod)}" for pod in pods)
            raise Stop(f"{len(running)} of {count} pods run after {READY_LIMIT_S:g} s "
                       f"({states or 'the Job has made none'})", CANNOT)
        time.sleep(POLL_S)


def _refuse_hopeless(cluster: Cluster, pod: dict) -> None:
    name = pod["metadata"]["name"]
    if pod["status"]["phase"] in ("Failed", "Succeeded"):
        last = (cluster.ask("logs", name).strip().splitlines() or ["nothing"])[-1]
        raise Stop(f"pod {name} ended before the start; it said last: {last}", CANNOT)
    if (state := _state(pod)) in HOPELESS:
        raise Stop(f"pod {name}: {state}; the image is set in docker/k8s/load/kustomization.yaml",
                   CANNOT)


def _state(pod: dict) -> str:
    """What a pod waits for, in Kubernetes' own word."""
    status = pod["status"]
    waits = [each["state"]["waiting"].get("reason", "waiting")
             for each in status.get("containerStatuses", []) if "waiting" in each.get("state", {})]
    wrong = [each.get("reason", "") for each in status.get("conditions", [])
             if each.get("status") == "False" and each.get("type") == "PodScheduled"]
    return next(iter(waits + wrong), status["phase"])


def start_together(cluster: Cluster, pods: list[str]) -> float:
    """Tell all pods one moment, by the clock of the first; how many seconds away that is."""
    lead_s = LEAD_S + LEAD_PER_POD_S * len(pods)
    at = int(cluster.run_in(pods[0], "date +%s%3N")) + round(lead_s * 1000)
    told = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda pod: cluster.run_in(pod, f"printf {at} >/start/at"), pods))
    return max(0.0, lead_s - (time.monotonic() - told))


def wait_until_over(cluster: Cluster, uid: str, seconds: float) -> None:
    """Until every pod has ended; Stop when one failed or does not end."""
    time.sleep(seconds)
    limit = time.monotonic() + END_LIMIT_S
    while True:
        phases = {pod["metadata"]["name"]: pod["status"]["phase"] for pod in cluster.pods(LOAD, uid)}
        if failed := [name for name, phase in phases.items() if phase == "Failed"]:
            last = (cluster.ask("logs", failed[0]).strip().splitlines() or ["nothing"])[-1]
            raise Stop(f"pod {failed[0]} failed; it said last: {last}", INVALID)
        if set(phases.values()) == {"Succeeded"}:
            return
        if time.monotonic() > limit:
            raise Stop(f"pods did not end: {phases or 'they are gone'}", INVALID)
        time.sleep(POLL_S)


def server_stats(cluster: Cluster) -> dict[str, dict]:
    """/stats of each server pod, through the API server; empty where that is not allowed."""
    found = {}
    try:
        for pod in cluster.pods(SERVER):
            name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
            found[name] = json.loads(cluster.ask(
                "get", "--raw", f"/api/v1/namespaces/{space}/pods/{name}:{ADMIN_PORT}/proxy/stats"))
    except (Stop, ValueError):
        return {}
    return found


def cpu_us_per_request(before: dict[str, dict], after: dict[str, dict]) -> float | None:
    """CPU time of all server pods; None where it is unknown, or a pod came or went meanwhile."""
    if not before or before.keys() != after.keys():
        return None
    used, requests = (sum(after[pod][key] - before[pod][key] for pod in after)
                      for key in ("cpu_ns", "requests"))
    return used / 1000 / requests if requests > 0 and used >= 0 else None


# ---- the command ----


@contextmanager
def job(cluster: Cluster, args: argparse.Namespace) -> Iterator[str]:
    """The uid of a new Job, which is gone after the block unless it is to be kept."""
    with tempfile.TemporaryDirectory(prefix="idlewheel-load-") as folder:
        overlay(Path(folder), args)
        try:
            yield create_job(cluster, folder)
        finally:
            if not args.keep:
                delete_job(cluster, folder)


def measure(cluster: Cluster, args: argparse.Namespace) -> dict:
    start_server(cluster)
    with job(cluster, args) as uid:
        pods = wait_until_ready(cluster, uid, args.pods)
        before = server_stats(cluster)
        away_s = start_together(cluster, pods)
        wait_until_over(cluster, uid, away_s + args.duration)
        after = server_stats(cluster)
        found = merged([result_of(pod, cluster.ask("logs", pod)) for pod in pods])
    return {"connections": args.pods * args.connections, "duration_s": args.duration, **found,
            "cpu_us_per_request": cpu_us_per_request(before, after)}


def table(found: dict) -> str:
    latency, cpu = found["latency_us"], found["cpu_us_per_request"]
    rows = [("pods", found["pods"], ""), ("connections", found["connections"], ""),
            ("started within", found["started_within_ms"], "ms"),
            ("requests", found["requests"], ""), ("requests per second", round(found["rps"]), ""),
            ("CPU of the server per request", "unknown" if cpu is None else f"{cpu:.3f}",
             "" if cpu is None else "us"),
            *((f"latency {name} ({latency['kind']})", value, "us")
              for name, value in latency.items() if name != "kind"),
            *((f"wrk {kind} errors", n, "") for kind, n in found["errors"].items())]
    return "\n".join(f"{name:36} {value if isinstance(value, str) else f'{value or 0:,}':>14} {unit}"
                     .rstrip() for name, value, unit in rows)


def between(low: int, high: int):
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return parse


def path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a path of an address; it begins with /")
    return text


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> None:
        raise Stop(f"{message} (see --help)", BAD_USAGE)


def parser() -> Parser:
    made = Parser(prog="load_pods.py", description=__doc__,
                  formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--pods", type=between(1, 500), default=2, metavar="N", help="wrk pods (default: 2)")
    add("--connections", type=between(1, 50_000), default=400, metavar="N",
        help="open connections of each pod (default: 400)")
    add("--duration", type=between(1, 1800), default=10, metavar="S",
        help="seconds of load (default: 10)")
    add("--path", type=path, default="/", help="what is requested (default: /)")
    add("-n", "--namespace", metavar="NAME", help="namespace (default: kubectl's own)")
    add("--keep", action="store_true", help="leave the Job and its pods")
    add("--json", action="store_true", help="print JSON")
    return made


def main(argv: list[str]) -> int:
    try:
        args = parser().parse_args(argv)
        if not shutil.which("kubectl"):
            raise Stop("kubectl is not on PATH", CANNOT)
        found = measure(Cluster(args.namespace), args)
        print(json.dumps(found, indent=1) if args.json else table(found), flush=True)
        if why := problem(found):
            raise Stop(why, INVALID)
        return DONE
    except Stop as stop:
        print(f"load_pods: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("load_pods: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(main(sys.argv[1:]))
