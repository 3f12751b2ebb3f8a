"""compose.yaml and k8s/: they fit public schemas, and keep what README.md promises of them."""

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECK = HERE / "check_manifests.mjs"
COMPOSE = HERE / "compose.yaml"
KUBERNETES = [HERE / "k8s/server.yaml", HERE / "k8s/load/job.yaml"]
READY = shutil.which("node") and (HERE / "node_modules").is_dir()


def check(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(["node", CHECK, *words], capture_output=True, text=True, timeout=60)


def documents(*files: Path) -> list[dict]:
    found = check("--json", *files)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@unittest.skipUnless(READY, "needs node and npm's packages in docker/ (scripts/setup installs them)")
class Manifests(unittest.TestCase):
    pass


class Schemas(Manifests):
    def test_all_fit(self) -> None:
        found = check(COMPOSE, *KUBERNETES)
        self.assertEqual((found.returncode, found.stdout), (0, ""), found.stderr)

    def test_every_kustomization_names_files_that_there_are(self) -> None:
        for folder in (HERE / "k8s", HERE / "k8s/load"):
            (made,) = documents(folder / "kustomization.yaml")
            files = made["resources"] + [file for each in made.get("configMapGenerator", [])
                                         for file in each["files"]]
            self.assertEqual([name for name in files if not (folder / name).is_file()], [])
            self.assertEqual(set(made) - {"apiVersion", "kind", "resources", "images",
                                          "configMapGenerator"}, set())

    def test_planted_faults_are_found(self) -> None:
        """Wrong types, fields that there are not, and those that are missing."""
        planted = [
            (COMPOSE, "cpuset:", "cpusets:", "additionalProperty\":\"cpusets"),
            (COMPOSE, "service_healthy", "healthy", "condition is wrong: enum"),
            (COMPOSE, "network_mode: none", "network_mode: []", "network_mode is wrong: type"),
            (KUBERNETES[0], "livenessProbe:", "livenesProbe:", "containers/0/livenesProbe is not a"),
            (KUBERNETES[0], "runAsNonRoot: true", "runAsNonRoot: 1", "runAsNonRoot is wrong: type"),
            (KUBERNETES[0], ", port: admin }", " }", 'missingProperty":"port"'),
            (KUBERNETES[0], "kind: Service", "kind: Servise", "no schema for Servise of v1"),
            (KUBERNETES[1], "completions: 2", 'completions: "2"', "completions is wrong: type"),
            (KUBERNETES[1], "  template:", "  temlate:", 'missingProperty":"template"'),
            (KUBERNETES[1], "spec:\n", "spec: {\n", "on a single line"),
        ]
        with tempfile.TemporaryDirectory() as scratch:
            files = [Path(scratch, f"{i}.yaml") for i in range(len(planted))]
            for file, (original, old, new, _) in zip(files, planted):
                self.assertIn(old, original.read_text())
                file.write_text(original.read_text().replace(old, new))
            found = check(*files)
        self.assertEqual(found.returncode, 1)
        for file, (_, _, new, words) in zip(files, planted):
            said = [line for line in found.stdout.splitlines() if line.startswith(f"{file}: ")]
            self.assertTrue(any(words in line for line in said), (new, said))

    def test_without_files_it_says_its_usage(self) -> None:
        self.assertEqual(check().returncode, 2)


class Compose(Manifests):
    def setUp(self) -> None:
        (self.file,) = documents(COMPOSE)
        self.services = self.file["services"]

    def test_every_service_is_locked_down(self) -> None:
        for name, service in self.services.items():
            with self.subTest(service=name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                limits = service["ulimits"]["nofile"]
                self.assertGreaterEqual(min(limits.values()), 10_100)

    def test_one_alone_may_gain_rights_and_only_that_of_perf(self) -> None:
        free = {name for name, service in self.services.items()
                if "no-new-privileges:true" not in service.get("security_opt", [])}
        self.assertEqual(free, {"study"})
        self.assertEqual({name: service["cap_add"] for name, service in self.services.items()
                          if "cap_add" in service}, {"study": ["PERFMON"], "results": ["CHOWN"]})

    def test_root_runs_only_what_hands_over_the_folder(self) -> None:
        users = dict(re.findall(r"AS (\w+)\n(?:(?!\nFROM)[\s\S])*?\nUSER (\S+)\n",
                                (HERE / "Dockerfile").read_text()))
        self.assertEqual(users, dict.fromkeys(("load", "study", "server"), "1000:1000"))
        self.assertEqual({name for name, service in self.services.items()
                          if service.get("user") == "0:0"}, {"results"})
        self.assertEqual(self.services["results"]["entrypoint"][0], "chown")
        self.assertEqual(self.services["results"]["network_mode"], "none")

    def test_cores_are_given_to_all_that_are_measured(self) -> None:
        cores = {name: service["cpuset"] for name, service in self.services.items()
                 if "cpuset" in service}
        self.assertEqual({name: re.search(r":-(.*)}", text)[1] for name, text in cores.items()},
                         {"study": "0,1", "server": "0", "load": "1"})

    def test_the_study_gets_flags_that_it_has_and_folders_that_it_needs(self) -> None:
        study = self.services["study"]
        said = subprocess.run([HERE.parent / "scripts/study", "run", "--help"], text=True,
                              capture_output=True, check=True).stdout
        for flag in study["command"][1:]:
            self.assertIn(flag.partition("=")[0], said)
        self.assertEqual([volume["target"] for volume in study["volumes"]], ["/idlewheel/results"])
        self.assertIn("exec", study["tmpfs"][0])  # it runs a copy of the server from there

    def test_every_target_is_a_stage_and_every_variable_is_explained(self) -> None:
        stages = re.findall(r"^FROM \S+ AS (\w+)$", (HERE / "Dockerfile").read_text(), re.MULTILINE)
        targets = {service["build"]["target"] for service in self.services.values()
                   if "build" in service}
        self.assertEqual(targets, {"study", "server", "load"})
        self.assertLessEqual(targets, set(stages))
        readme = (HERE / "README.md").read_text()
        for name in set(re.findall(r"\$\{(\w+):-", COMPOSE.read_text())):
            self.assertIn(f"`{name}`", readme)


class Kubernetes(Manifests):
    """What the strictest of Kubernetes' Pod Security Standards asks for, and a little more."""

    def pods(self) -> list[dict]:
        return [each["spec"]["template"] for each in documents(*KUBERNETES)
                if each["kind"] in ("Deployment", "Job")]

    def test_pods_are_restricted(self) -> None:
        self.assertEqual(len(self.pods()), 2)
        for pod in self.pods():
            spec = pod["spec"]
            self.assertFalse(spec["automountServiceAccountToken"])
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            for container in spec["containers"]:
                inner = container["securityContext"]
                self.assertFalse(inner["allowPrivilegeEscalation"])
                self.assertTrue(inner["readOnlyRootFilesystem"])
                self.assertEqual(inner["capabilities"], {"drop": ["ALL"]})

    def test_each_gets_whole_cores_of_its_own(self) -> None:
        """The static CPU manager asks for whole numbers, and requests that equal the limits."""
        for pod in self.pods():
            for container in pod["spec"]["containers"]:
                resources = container["resources"]
                self.assertEqual(resources["requests"], resources["limits"])
                self.assertTrue(resources["limits"]["cpu"].isdecimal())

    def test_names_and_labels_meet(self) -> None:
        deployment, service, job = documents(*KUBERNETES)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(deployment["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(service["spec"]["selector"], labels)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {each["name"] for each in container["ports"]}
        self.assertLessEqual({each["targetPort"] for each in service["spec"]["ports"]}, ports)
        probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        self.assertLessEqual({each["httpGet"]["port"] for each in probes}, ports)
        term = job["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
        self.assertEqual(term["labelSelector"]["matchLabels"], labels)

    def test_the_job_runs_each_pod_once_and_at_the_same_time(self) -> None:
        (job,) = documents(KUBERNETES[1])
        spec = job["spec"]
        self.assertEqual((spec["completionMode"], spec["backoffLimit"]), ("Indexed", 0))
        self.assertEqual(spec["completions"], spec["parallelism"])
        (container,) = spec["template"]["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        self.assertEqual(mounts, {"load": "/load", "start": "/start"})
        self.assertEqual(set(mounts), {each["name"] for each in spec["template"]["spec"]["volumes"]})
        (made,) = documents(HERE / "k8s/load/kustomization.yaml")
        self.assertIn(container["command"][-1].removeprefix("/load/"),
                      made["configMapGenerator"][0]["files"])
        self.assertIn("/start/at", (HERE / "k8s/load/pod.sh").read_text())


if __name__ == "__main__":
    unittest.main()
