"""The command `reusedproxy`, which is `twist reusedproxy` for people who do not know Twisted."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__
from reusedproxy.command import Options, of_haproxy, say
from reusedproxy.operators.version import LIBRARIES, OPTIONAL, build, details
from reusedproxy.wire import heads
from tests.wire import scratch

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "reusedproxy", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


class CommandTests(SynchronousTestCase):
    def test_it_takes_the_same_options(self) -> None:
        for option in ("--version", "-v"):
            self.assertEqual(run(option).stdout, f"reusedproxy {build()}\n")
        self.assertIn("or reusedproxy [options]", run("--help").stdout)
        checked = run("--check", "--config", str(ROOT / "etc" / "reusedproxy.cfg"))
        valid, summary = checked.stdout.splitlines()
        self.assertEqual((checked.returncode, valid), (0, "Configuration file is valid"))
        self.assertRegex(summary, r"^[0-9]+ words done, 0 without effect here, 0 refused$")

    def test_the_version_in_detail(self) -> None:
        """As HAProxy's, for reports; its first line is the version's."""
        said = run("-vv").stdout
        for words in (("--version", "--verbose"), ("--verbose", "-v"), ("-v", "-v"), ("-vv", "-f", "/none")):
            self.assertEqual(run(*words).stdout, said, words)
        first, *lines = said.splitlines()
        self.assertEqual(first, f"reusedproxy {build()}")
        for library in (*LIBRARIES, *sum(OPTIONAL.values(), ())):
            self.assertIn(f"{library} {metadata.version(library)}", said)
        text = "\n".join(lines)
        self.assertIn(f"Running with Python version : {platform.python_version()} (", text)
        self.assertIn(f"Running on OpenSSL version : {backend.openssl_version_text()}\n", text)
        modules = "compiled (mypyc)" if build().endswith("(compiled)") else "interpreted"
        self.assertIn(f"Modules that requests pass : {modules}\n", text)
        for part in ("Running on: Linux ", "+manhole (bcrypt ", "+OPENSSL", "prometheus-exporter", "bwlim-in"):
            self.assertIn(part, text)
        self.assertIn("--verbose goes with --version", run("--verbose", "--demo").stderr)

    def test_what_is_optional_and_not_installed_is_said(self) -> None:
        def none(package: str) -> str:
            raise metadata.PackageNotFoundError(package)

        self.patch(metadata, "version", none)
        self.patch(heads, "__file__", "reusedproxy/wire/heads.cpython-311-x86_64-linux-gnu.so")
        said = [*details()]
        for line in ("  -manhole (bcrypt)", "  Twisted not found", "Modules that requests pass : compiled (mypyc)"):
            self.assertIn(line, said)

    def test_a_compiled_build_says_so(self) -> None:
        """For somebody who asks why two machines differ."""
        self.patch(heads, "__file__", "reusedproxy/wire/heads.py")
        self.assertEqual(build(), __version__)
        self.patch(heads, "__file__", "reusedproxy/wire/heads.cpython-311-x86_64-linux-gnu.so")
        self.assertEqual(build(), f"{__version__} (compiled)")

    def test_what_is_wrong_ends_it(self) -> None:
        """With a status that says so."""
        wrong = run("--nonsense")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("option --nonsense not recognized", wrong.stdout + wrong.stderr)
        missing = run("--check", "--config", "/nonexistent")
        self.assertEqual(
            (missing.returncode, missing.stderr),
            (1, "[ALERT] /nonexistent: cannot be read: No such file or directory\n"),
        )

    def test_a_wrong_command_line_is_one_line(self) -> None:
        """With the way on, and for options of HAProxy's what is done here in their place."""
        for words, said in (
            ((), "no configuration: say --config FILE, or --demo to see it work without one"),
            (("--check",), "no configuration: say --config FILE"),
            (("-D", "-f", "x.cfg"), "there is no -D: the background is 'twistd reusedproxy …'"),
        ):
            ran = run(*words)
            self.assertEqual((ran.returncode, ran.stdout), (os.EX_USAGE, ""), words)
            self.assertIn(f"reusedproxy: {said}", ran.stderr)
            self.assertTrue(ran.stderr.endswith("; 'reusedproxy --help' says more\n"), ran.stderr)
            self.assertEqual(ran.stderr.count("\n"), 1)

    def test_a_relative_path_beside_another_directory_of_twistds_is_refused(self) -> None:
        """At a reload it would be another file, perhaps of somebody else's."""
        file = scratch(self) / "a.cfg"
        file.write_text("")
        (file.parent / "sub").mkdir()
        for path, directory, refused in (("a.cfg", "sub", True), ("a.cfg", ".", False), (str(file), "sub", False)):
            twistd = [
                str(Path(sys.executable).with_name("twistd")),
                f"--rundir={directory}",
                "--nodaemon",
                "--pidfile=",
            ]
            ran = subprocess.run(
                [*twistd, "reusedproxy", "--config", path, "--check"],
                cwd=file.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual("that would be another file at a reload" in ran.stderr, refused, ran.stderr)

    def test_a_check_says_what_descriptors_do_not_suffice_for(self) -> None:
        """Of the limit that it has itself: the start would warn."""
        file = scratch(self) / "large.cfg"
        text = "defaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\n"
        text += "listen a\n bind 127.0.0.1:0\n server s 127.0.0.1:1 pool-min-conn 4000\n"
        file.write_text(text)
        command = f"ulimit -n 2000; exec {sys.executable} -m reusedproxy --check --config {file}"
        ran = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
        self.assertEqual((ran.returncode, ran.stdout.partition("\n")[0]), (0, "Configuration file is valid"))
        self.assertIn("[NOTICE] pool-min-conn asks for 4000 connections in all, and the limit is 2000", ran.stderr)

    def test_each_option_of_haproxy_has_its_answer(self) -> None:
        for option in ["-D", "-W", "-Ws", "-db", "-V", "-sf", "-st", "-L", "-p", "-q", "-n", "-C"]:
            said = str(self.assertRaises(UsageError, Options().parseOptions, ["-f", "x.cfg", option, "1"]))
            self.assertIn(f"there is no {option}: ", said)
        self.assertIn("--replace", of_haproxy(["-f", "-q", "-sf", "1"]))
        self.assertNotIn("-q", of_haproxy(["-f", "-q", "-sf", "1"]))

    def test_a_reader_who_has_gone_is_no_fault(self) -> None:
        """As `head -1`: no traceback, and the status is that of the check."""
        file = scratch(self) / "wrong.cfg"
        file.write_text("listen a\n mode http\n blance roundrobin\n")
        for status, words in (
            (0, ("--check", "--json", "--config", str(ROOT / "etc" / "reusedproxy.cfg"))),
            (1, ("--check", "--json", "--config", str(file))),
            (0, ("--help",)),
        ):
            reading, writing = os.pipe()
            os.close(reading)
            with os.fdopen(writing, "wb") as closed:
                command = [sys.executable, "-m", "reusedproxy", *words]
                ran = subprocess.run(command, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual((ran.returncode, ran.stderr), (status, b""), words)

    def test_an_output_that_cannot_be_written_is_said(self) -> None:
        """The disk is full."""
        with Path("/dev/full").open("w") as full, self.assertRaises(SystemExit) as ended:
            say("all of it", full)
        self.assertEqual(ended.exception.code, "reusedproxy: its output cannot be written: No space left on device")

    def test_the_log_of_twist_is_text_in_a_pipe_too(self) -> None:
        """Unless JSON is asked for."""
        line = r"^[0-9-]{10}T\S+ reusedproxy\[[0-9]+\] info: "
        for words, form in (((), line), (("--log-format=text",), line), (("--log-format=json",), r'^\x1e\{"')):
            command = [sys.executable, "-m", "twisted", *words, "reusedproxy", "--demo"]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as daemon:
                assert daemon.stdout is not None
                self.addCleanup(daemon.kill)
                log = next(line for line in daemon.stdout if line.startswith(("\x1e", "2")))
                daemon.terminate()
            self.assertRegex(log, form)

    def test_what_is_checked_is_said_in_json(self) -> None:
        """For programs: whether the file can be used, and where each fault is."""
        valid = run("--check", "--json", "--config", str(ROOT / "etc" / "reusedproxy.cfg"))
        said = json.loads(valid.stdout)
        self.assertEqual((valid.returncode, valid.stderr, said["valid"], said["faults"]), (0, "", True, []))
        self.assertRegex(said["summary"], "^[0-9]+ words done, ")
        file = scratch(self) / "wrong.cfg"
        file.write_text("listen a\n mode http\n bind :80\n blance roundrobin\n server s 127.0.0.1:1 wait 3\n")
        wrong = run("--check", "--json", "--config", str(file))
        said = json.loads(wrong.stdout)
        self.assertEqual((wrong.returncode, wrong.stderr, said["valid"]), (1, "", False))
        places = [(each["file"], each["line"], each["severity"]) for each in said["faults"]]
        self.assertEqual(
            [each for each in places if each[2] == "alert"], [(str(file), 4, "alert"), (str(file), 5, "alert")]
        )
        self.assertIn("did you mean 'balance'?", " ".join(each["text"] for each in said["faults"]))
        # Words that are all well, and files that are not.
        file.write_text("listen a\n mode http\n bind :80 ssl crt /nowhere.pem\n server s 127.0.0.1:1\n")
        absent = json.loads(run("--check", "--json", "--config", str(file)).stdout)
        self.assertEqual(([*absent], absent["valid"]), ([*said], False))
        self.assertRegex(absent["summary"], "^[0-9]+ words done, ")
        for words in (("doctor",), ("--config", str(file), "doctor"), ("doctor", "-f", str(file), "--idle", "x")):
            unable = run(*words)
            self.assertEqual((unable.returncode, unable.stdout), (2, ""))
            self.assertIn("'reusedproxy doctor --help' says more", unable.stderr)
        record = run("doctor", "--record", str(file), "floor=2")
        self.assertEqual((record.returncode, record.stdout), (2, ""))
        self.assertIn("wrong.cfg: it does not begin with '# reusedproxy pool record", record.stderr)
        alone = run("--json", "--config", str(file))
        self.assertIn("--json goes with --check", alone.stdout + alone.stderr)
