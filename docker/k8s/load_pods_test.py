"""Adding up what pods saw, and the way to it with a kubectl that only pretends.

Its pods are processes of this machine: they run the real pod.sh with the real wrk against a small
server. So what is tested here is everything but the cluster.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import load_pods

HERE = Path(__file__).resolve().parent
KUBECTL = r'''#!/usr/bin/python3
"""A kubectl whose cluster is a folder: FAKE. What its pods do is in the file named plan."""
import glob, json, os, subprocess, sys, time
FAKE = os.environ["FAKE"]
words = sys.argv[1:]
with open(f"{FAKE}/calls", "a") as calls:
    calls.write(" ".join(words) + "\n")
plan = json.load(open(f"{FAKE}/plan"))
if words[0] == plan.get("refuses"):
    sys.exit(f"error: you may not {words[0]}")
def patch():
    base = json.load(open(f"{FAKE}/overlay"))
    return json.loads(base["patches"][0]["patch"])["spec"]
def pod(i):
    phase = plan.get("phase", "Running")
    if os.path.exists(f"{FAKE}/over-{i}"):
        phase = plan.get("end", "Succeeded")
    state = {"waiting": {"reason": plan["waits"]}} if "waits" in plan else {"running": {}}
    return {"metadata": {"name": f"load-{i}", "ownerReferences": [{"uid": "42"}]},
            "status": {"phase": phase, "containerStatuses": [{"state": state}]}}
def environment():
    env = patch()["template"]["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] for each in env}
def begin(i, script):
    file = f"{FAKE}/at-{i}"
    subprocess.run(["sh", "-c", script.replace("/start/at", file)], check=True)
    env = {**os.environ, **environment(), "START_FILE": file, "TARGET": plan["target"]}
    run = f'sh "{plan["pod"]}" >{FAKE}/log-{i} 2>&1; : >{FAKE}/over-{i}'
    subprocess.Popen(["sh", "-c", run], env=env, start_new_session=True,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if words[0] == "apply":
    if os.path.basename(words[2]) != "k8s":
        open(f"{FAKE}/overlay", "w").write(open(f"{words[2]}/kustomization.yaml").read())
        for left in glob.glob(f"{FAKE}/*-[0-9]"):
            os.remove(left)  # a Job begins with new pods
elif words[:2] == ["get", "job"]:
    print(json.dumps({"metadata": {"uid": "42"}}))
elif words[:2] == ["get", "pods"] and words[3].endswith("=idlewheel-load"):
    gone = {"metadata": {"name": "old", "ownerReferences": [{"uid": "1"}]},
            "status": {"phase": "Failed"}}
    print(json.dumps({"items": [gone, *map(pod, range(patch()["parallelism"]))]}))
elif words[:2] == ["get", "pods"]:
    print(json.dumps({"items": [{"metadata": {"name": "server-0", "namespace": "lab"}}]}))
elif words[:2] == ["get", "--raw"]:
    now = time.monotonic_ns()
    print(json.dumps({"cpu_ns": now, "requests": now // 4000}))
elif words[0] == "exec" and words[-1].startswith("date"):
    subprocess.run(["sh", "-c", words[-1]], check=True)
elif words[0] == "exec":
    begin(words[1].rpartition("-")[2], words[-1])
elif words[0] == "logs":
    print(plan["log"] if "log" in plan else open(f"{FAKE}/log-" + words[1].rpartition("-")[2]).read())
'''

TRIES = 4  # on a busy machine one wrk may end much later than the other


def pod(requests: int, points: list[list[float]], started_ms: int = 1000,
        duration_us: int = 2_000_000, **errors: int) -> dict:
    kinds = dict.fromkeys(("connect", "read", "write", "status", "timeout"), 0)
    return {"started_ms": started_ms, "duration_us": duration_us, "requests": requests, "bytes": 7,
            "errors": kinds | errors, "latency_us": points}


class Merging(unittest.TestCase):
    def test_counts_add_up(self) -> None:
        found = load_pods.merged([pod(100, [[100, 5]], read=1), pod(300, [[100, 9]], 1100, read=2)])
        self.assertEqual((found["requests"], found["rps"], found["bytes"]), (400, 200.0, 14))
        self.assertEqual(found["errors"]["read"], 3)
        self.assertEqual(found["started_within_ms"], 100)
        self.assertAlmostEqual(found["overlap"], 0.95)

    def test_percentiles_are_those_of_all_requests_together(self) -> None:
        """A pod with few slow requests moves the end of the distribution, and not its middle."""
        fast = pod(990, [[50, 10], [90, 20], [100, 30]])
        slow = pod(10, [[50, 1000], [100, 5000]])
        self.assertEqual(load_pods.latencies([fast, slow]), {
            "kind": "wrk_co_corrected", "p50": 20, "p90": 30, "p99": 30, "p99.9": 5000, "max": 5000})
        self.assertEqual(load_pods.latencies([slow, fast]), load_pods.latencies([fast, slow]))

    def test_one_pod_alone_keeps_its_percentiles(self) -> None:
        alone = pod(1000, [[50, 7], [90, 8], [99, 9], [99.9, 10], [100, 11]])
        self.assertEqual(list(load_pods.latencies([alone]).values())[1:], [7, 8, 9, 10, 11])

    def test_against_the_requests_themselves(self) -> None:
        """Ranks of two known sets of latencies; what comes out is at most one step too high."""
        sets = [[i * 3 for i in range(1, 2001)], [100 + i for i in range(1, 6001)]]
        ranks = [i / 2 for i in range(1, 201)]
        pods = [pod(len(s), [[r, s[max(0, -(-len(s) * r // 100).__int__() - 1)]] for r in ranks])
                for s in sets]
        every = sorted(sum(sets, []))
        found = load_pods.latencies(pods)
        for wanted in (50, 90, 99):
            low, high = (every[round(len(every) * share / 100) - 1] for share in (wanted, wanted + 0.5))
            self.assertTrue(low <= found[f"p{wanted}"] <= high, (wanted, low, found, high))

    def test_a_pod_that_answered_nothing(self) -> None:
        self.assertEqual(load_pods.latencies([pod(0, []), pod(5, [[100, 3]])])["p50"], 3)
        found = load_pods.merged([pod(0, [])])
        self.assertEqual((found["requests"], found["latency_us"]["p99"]), (0, None))
        self.assertEqual(load_pods.problem(found), "no request was answered")

    def test_what_makes_figures_invalid(self) -> None:
        good = [pod(10, [[100, 5]]), pod(10, [[100, 5]])]
        self.assertIsNone(load_pods.problem(load_pods.merged(good)))
        apart = [pod(10, [[100, 5]]), pod(10, [[100, 5]], started_ms=1200)]
        self.assertIn("ran together for 90%", load_pods.problem(load_pods.merged(apart)))
        never = [pod(10, [[100, 5]]), pod(10, [[100, 5]], started_ms=99_000)]
        self.assertIn("for 0%", load_pods.problem(load_pods.merged(never)))
        wrong = [*good, pod(10, [[100, 5]], status=3, timeout=1)]
        self.assertEqual(load_pods.problem(load_pods.merged(wrong)), "wrk saw errors: 3 status, 1 timeout")

    def test_cpu_is_unknown_where_a_server_pod_came_or_went(self) -> None:
        before, after = ({"a": {"cpu_ns": ns, "requests": n}} for ns, n in ((1000, 1), (9000, 5)))
        self.assertEqual(load_pods.cpu_us_per_request(before, after), 2.0)
        for first, last in ((before, after | {"b": after["a"]}), ({}, {}), (after, before),
                            (before, before)):
            self.assertIsNone(load_pods.cpu_us_per_request(first, last))


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Command(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="idlewheel-pods-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        kubectl = self.folder / "bin/kubectl"
        kubectl.parent.mkdir()
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)
        changed = {"PATH": f"{kubectl.parent}:{os.environ['PATH']}", "FAKE": str(self.folder)}
        patched = mock.patch.dict(os.environ, changed)
        patched.start()
        self.addCleanup(patched.stop)

    def call(self, *argv: str, **plan: object) -> tuple[int, str, str]:
        (self.folder / "plan").write_text(json.dumps(plan))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = load_pods.main(list(argv))
        return code, out.getvalue(), err.getvalue()

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def refused(self, code: int, words: str, *argv: str, **plan: object) -> None:
        found, out, err = self.call(*argv, **plan)
        self.assertEqual((found, out, len(err.splitlines())), (code, "", 1), err)
        self.assertIn(words, err)

    @unittest.skipUnless(shutil.which("wrk"), "needs wrk (scripts/setup installs it)")
    def test_pods_load_together_and_their_results_are_one(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.handle_error = lambda *_: None  # wrk resets its connections at the end
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(TRIES):
            with mock.patch.multiple(load_pods, LEAD_S=0.5, POLL_S=0.1):
                code, out, err = self.call("--pods", "2", "--connections", "3", "--duration", "1",
                                           "--json",
                                           target=f"http://127.0.0.1:{server.server_port}/",
                                           pod=str(HERE / "load/pod.sh"))
            if "ran together" not in err:
                break
        self.assertEqual((code, err), (0, ""), out)
        found = json.loads(out)
        self.assertEqual((found["pods"], found["connections"], found["duration_s"]), (2, 6, 1))
        self.assertGreater(found["requests"], 2)
        latency = [found["latency_us"][name] for name in ("p50", "p90", "p99", "p99.9", "max")]
        self.assertEqual(latency, sorted(latency))
        self.assertGreater(latency[0], 0)
        self.assertAlmostEqual(found["cpu_us_per_request"], 4.0, places=1)
        self.assertEqual(self.calls()[-1].split()[:2], ["delete", "-k"])
        self.assertTrue(self.calls()[0].startswith(f"apply -k {HERE}"))

    def test_bad_usage_is_one_line(self) -> None:
        for argv in (["--pods", "0"], ["--pods", "x"], ["--duration", "0"], ["--connections", "-1"],
                     ["--path", "bytes"], ["--path", "/a b"], ["--fly"], ["more"]):
            with self.subTest(argv=argv):
                self.refused(2, "see --help", *argv)

    def test_without_kubectl(self) -> None:
        with mock.patch.object(shutil, "which", return_value=None):
            self.refused(3, "kubectl is not on PATH")

    def test_what_the_cluster_refuses_is_said(self) -> None:
        for word in ("apply", "exec"):
            self.refused(3, f"you may not {word}", refuses=word)
        self.assertTrue(self.calls()[-1].startswith("delete"))  # nothing is left

    def test_pods_that_cannot_start_are_not_waited_for(self) -> None:
        self.refused(3, "load-0: ImagePullBackOff", phase="Pending", waits="ImagePullBackOff")
        self.refused(3, "load-0 ended before the start; it said last: no wrk", phase="Failed",
                     log="wrk:\nno wrk")

    def test_pods_that_never_run_are_waited_for_and_named(self) -> None:
        with mock.patch.object(load_pods, "READY_LIMIT_S", 0.1):
            self.refused(3, "0 of 2 pods run after 0.1 s (load-0: ContainerCreating, load-1: ",
                         phase="Pending", waits="ContainerCreating")

    def test_a_pod_without_a_result_is_no_measurement(self) -> None:
        with self.assertRaisesRegex(load_pods.Stop, "pod p gave no result; it said last: refused"):
            load_pods.result_of("p", "x\nrefused\n")
        with self.assertRaisesRegex(load_pods.Stop, "gave no result"):
            load_pods.result_of("p", 'idlewheel-load {"requests":')

    def test_the_overlay_changes_what_the_job_has(self) -> None:
        """A name that the Job does not have would add something to it, in place of changing it."""
        args = load_pods.parser().parse_args(["--pods", "7", "--connections", "90", "--path", "/a"])
        load_pods.overlay(self.folder, args)
        made = json.loads((self.folder / "kustomization.yaml").read_text())
        base = (self.folder / made["resources"][0]).resolve()
        job = (base / "job.yaml").read_text()
        patch = json.loads(made["patches"][0]["patch"])
        self.assertIn(f"kind: {patch['kind']}\nmetadata:\n  name: {patch['metadata']['name']}\n", job)
        spec = patch["spec"]
        self.assertEqual((spec.pop("completions"), spec.pop("parallelism")), (7, 7))
        (container,) = spec["template"]["spec"]["containers"]
        self.assertIn(f"- name: {container['name']}\n", job)
        self.assertEqual({each["name"]: each["value"] for each in container["env"]},
                         {"CONNECTIONS": "90", "SECONDS_OF_LOAD": "10",
                          "TARGET": "http://idlewheel:4242/a"})
        for each in container["env"]:
            self.assertIn(f"- {{ name: {each['name']}, value: ", job)


if __name__ == "__main__":
    unittest.main()
