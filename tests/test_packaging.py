"""What packages are made with: debian/, the Containerfile, examples for Kubernetes, and how they fit the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__
from reusedproxy.config.reader import Source, read_configuration
from tests.kubernetes import NAMES, Example, documents

ROOT = Path(__file__).parents[1]


class DebianTests(SynchronousTestCase):
    """debian/, which `make deb` uses."""

    def test_its_version_is_the_programs(self) -> None:
        first = (ROOT / "debian/changelog").read_text().splitlines()[0]
        self.assertEqual(f"reusedproxy ({__version__})", first.partition(" unstable")[0])

    def test_what_it_edits_is_there(self) -> None:
        """rules changes lines of files in etc/ by their text: where one is written in another way, it would not."""
        sample = (ROOT / "etc/reusedproxy.cfg").read_text()
        self.assertEqual(1, sample.count("# stats socket /run/reusedproxy/admin.sock"))
        for name in ("etc/init.d/reusedproxy", "etc/default/reusedproxy"):
            self.assertEqual(1, len(re.findall("(?m)^#?TWISTD=twistd$", (ROOT / name).read_text())), name)
        unit = (ROOT / "etc/systemd/reusedproxy.service").read_text()
        commands = re.findall("(?m)^Exec.*$", unit)
        self.assertEqual([], [line for line in commands if not re.match("Exec[A-Za-z]*=twistd ", line)])


class UnitTests(SynchronousTestCase):
    """etc/systemd; `make test-deb` has a real systemd start it."""

    def test_it_is_confined_as_the_documents_say(self) -> None:
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            raise SkipTest("systemd-analyze not installed: apt-get install systemd")
        unit = ROOT / "etc/systemd/reusedproxy.service"
        command = [analyze, "--offline=true", "--no-pager", "security", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        found = re.search(r"Overall exposure level for reusedproxy.service: (\d+\.\d)", done.stdout)
        if found is None:  # --offline= came with systemd 250
            raise SkipTest(f"systemd-analyze cannot do that: {done.stderr.strip()}")
        # Versions of systemd weigh differently.
        self.assertLessEqual(float(found[1]), 2.0)


class KubernetesTests(SynchronousTestCase):
    """etc/kubernetes; tests/integration/test_kubernetes.py runs the configurations."""

    def test_the_schemas_of_kubernetes_allow_them(self) -> None:
        """In the strict form, which knows all words."""
        try:
            import kubernetes_validate
        except ImportError:
            raise SkipTest("kubernetes-validate not installed: pip install --group test") from None
        for name in NAMES:
            for document in documents(name):
                kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)

    def test_the_configuration_has_the_ports_that_are_named(self) -> None:
        """Those of containers and probes; and no port below 1024, for which the container would need a capability."""
        for name in NAMES:
            example = Example.read(name)
            configuration = read_configuration([Source(name, example.configuration)], {})
            self.assertEqual((), configuration.notices)
            bound = {bind.address.port for each in configuration.frontends.values() for bind in each.binds}
            self.assertEqual(set(), set(example.ports.values()) - bound)
            self.assertGreater(min(bound), 1023)
            self.assertEqual(set(), {each["httpGet"]["port"] for each in example.probes.values()} - set(example.ports))

    def test_times_fit_into_one_another(self) -> None:
        """The pod is not killed before the proxy has stopped, nor before its floors had their time."""
        for name in NAMES:
            example = Example.read(name)
            said = read_configuration([Source(name, example.configuration)], {}).global_
            pause = example.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert said.hard_stop_after is not None and said.pool_warm_start is not None
            self.assertGreater(example.pod["terminationGracePeriodSeconds"], pause + said.hard_stop_after)
            startup = example.probes["startupProbe"]
            self.assertGreater(startup["periodSeconds"] * startup["failureThreshold"], said.pool_warm_start)

    def test_the_files_that_are_named_are_mounted(self) -> None:
        """As directories: with subPath, a secret that is renewed is not seen in the container."""
        for name in NAMES:
            example = Example.read(name)
            mounts = {each["mountPath"]: each for each in example.container["volumeMounts"]}
            for path in re.findall(r"(?:crt|ca-file) (\S+)", example.configuration):
                self.assertNotIn("subPath", mounts[str(Path(path).parent)])
            self.assertEqual(["--config", "/etc/reusedproxy/reusedproxy.cfg"], example.container["args"])
            self.assertIn(example.container["args"][1], mounts)

    def test_the_image_is_that_of_the_containerfile(self) -> None:
        text = (ROOT / "Containerfile").read_text()
        (user, group) = re.findall(r"(?m)^USER (\d+):(\d+)$", text)[0]
        for name in NAMES:
            example = Example.read(name)
            self.assertEqual(f"reusedproxy:{__version__}", example.container["image"])
            context = {**example.pod["securityContext"], **example.container["securityContext"]}
            self.assertEqual([int(user), int(group)], [context["runAsUser"], context["runAsGroup"]])
            self.assertTrue(context["readOnlyRootFilesystem"])
            self.assertEqual({"drop": ["ALL"]}, context["capabilities"])


class ContainerfileTests(SynchronousTestCase):
    """What is copied into the image."""

    def test_all_that_it_copies_is_there_and_is_not_ignored(self) -> None:
        text = (ROOT / "Containerfile").read_text()
        let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        copied = {word for line in re.findall("(?m)^COPY (?!--)(.*) .*$", text) for word in line.split()}
        self.assertEqual(copied, let_in)
        self.assertEqual([], [name for name in copied if not (ROOT / name).exists()])
