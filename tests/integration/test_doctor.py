"""`reusedproxy doctor` as a user runs it, against nginx and `openssl s_server`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from tests.integration.daemon import ROOT, run_once
from tests.integration.peers import LOOPBACK, Nginx, OpensslServer, missing, temporary_directory

NAME = "app.test"


class DoctorTests(SynchronousTestCase):
    skip = missing("nginx", "openssl") or None

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.authority = Authority("test CA")
        self.ca = self.authority.write(self.directory / "ca.pem")
        self.crt = self.authority.issue("proxy", client=True, key="ecdsa").write(self.directory / "proxy.pem")
        self.good = self.authority.issue("app", hosts=[NAME], key="ecdsa")

    def nginx(self, name: str, credential: Credential, **more: Any) -> int:
        peer = Nginx(self.directory / name, self.authority, credential, **more)
        self.addCleanup(peer.stop)
        peer.start()
        return peer.port

    def configure(self, servers: str) -> str:
        file = self.directory / "proxy.cfg"
        tls = f"ssl verify required ca-file {self.ca} crt {self.crt} sni str({NAME})"
        file.write_text(
            "defaults\n mode http\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n"
            f"listen b\n bind unix@{self.directory}/b\n option httpchk GET /\n default-server {tls}\n{servers}"
        )
        return str(file)

    def examine(self, servers: str, *words: str) -> tuple[int, dict[str, dict[str, str]]]:
        """The exit status, and what was found: of each server the texts by topic."""
        done = run_once("doctor", "--json", "--config", self.configure(servers), *words, seconds=60.0)
        self.assertIn("doctor: examines ", done.stderr)
        found: dict[str, dict[str, str]] = {}
        for server in json.loads(done.stdout)["servers"]:
            for each in server["findings"]:
                topics = found.setdefault(server["server"], {"verdict": server["verdict"]})
                text = f"{each['text']} -> {each['remedy']}"
                topics[each["topic"]] = f"{topics.get(each['topic'], '')}{text}\n"
        return done.returncode, found

    def test_what_nginx_does(self) -> None:
        """It demands a client certificate, closes used and unused connections after times of their own, and resumes
        sessions, or does not."""
        times = {"keepalive_timeout": "2s", "first_request_timeout": "3s"}
        resumes = self.nginx("resumes", self.good, session_cache=True, **times)
        forgets = self.nginx("forgets", self.good, **times)
        status, found = self.examine(
            f" server resumes {LOOPBACK}:{resumes} check pool-min-conn 5\n server forgets {LOOPBACK}:{forgets}\n",
            "--idle",
            "5s",
        )
        self.assertEqual(status, 0, found)
        one = found["b/resumes"]
        for topic, text in (
            ("certificate", f"CN=app, for {NAME}, issued by CN=test CA; verified for '{NAME}'"),
            ("client-certificate", "the CAs that were named include that of crt"),
            ("resumption", "sessions resume: "),
            ("request", "GET / was answered with 200"),
            ("keep-alive", "keep-alive holds: 2 answers"),
            ("ping", "HEAD / keeps the connection, too"),
            ("ping", "OPTIONS * is answered with 400 and ends the connection"),
            ("connections", "bears 5 connections at once"),
            ("floor", "say 'idle-ping 1"),
        ):
            self.assertIn(text, one[topic])
        self.assertRegex(one["idle-used"], r"is closed after (1\.9|2)[.0-9]* s")
        self.assertRegex(one["idle-unused"], r"is closed after (2\.9|3)[.0-9]* s")
        self.assertIn("sessions do not resume", found["b/forgets"]["resumption"])

    def test_what_is_wrong_with_certificates(self) -> None:
        """The server's is out of time or for another name, ours is of an authority that it does not know."""
        over = datetime.now(timezone.utc) - timedelta(hours=1)
        old = self.nginx("old", self.authority.issue("old", hosts=[NAME], key="ecdsa", not_after=over))
        good = self.nginx("good", self.good)
        stranger = Authority("unknown CA").issue("who", client=True, key="ecdsa").write(self.directory / "who.pem")
        strict = OpensslServer(self.directory / "strict", self.authority, self.good)
        self.addCleanup(strict.stop)
        strict.start()
        status, found = self.examine(
            f" server old {LOOPBACK}:{old}\n server name {LOOPBACK}:{good} sni str(other.test)\n"
            f" server crt {LOOPBACK}:{good} crt {stranger}\n server strict {LOOPBACK}:{strict.port} crt {stranger}\n",
            "--idle=0",
        )
        self.assertEqual(status, 1)
        self.assertIn("certificate has expired (certificate 0 of the chain, CN=old", found["b/old"]["handshake"])
        self.assertIn(f"is not for 'other.test', it is for {NAME}", found["b/name"]["handshake"])
        shown = found["b/crt"]["client-certificate"]
        self.assertIn("asks for a client certificate of CN=test CA, and 'crt", shown)
        self.assertIn("answered with 400", shown)
        self.assertIn("unknown ca: the server refused our client certificate", found["b/strict"]["client-certificate"])

    def test_what_it_cannot_do(self) -> None:
        """A configuration that is refused, and a server that there is not."""
        refused = run_once("doctor", "--config", self.configure(" server s\n"))
        self.assertEqual((refused.returncode, refused.stdout), (2, ""))
        self.assertIn("proxy.cfg:10: ", refused.stderr)
        unknown = run_once("doctor", "--config", self.configure(f" server s {LOOPBACK}:1\n"), "b/t")
        self.assertEqual((unknown.returncode, unknown.stdout), (2, ""))
        self.assertIn("no backend or server 'b/t': did you mean 'b/s'?", unknown.stderr)
        for lines, name, text in ((" server s\n", "b/s", "proxy.cfg"), (f" server s {LOOPBACK}:1\n", "b/t", "'b/s'?")):
            found = run_once("doctor", "--config", self.configure(lines), "--json", name)
            said = json.loads(found.stdout)
            self.assertEqual((found.returncode, found.stderr, said["finished"]), (2, "", False))
            self.assertEqual([*said], ["finished", "faults", "trouble", "machine", "servers"])
            self.assertIn(text, str(said["faults"]))

    def test_an_interrupt_prints_what_was_found(self) -> None:
        port = self.nginx("good", self.good)
        file = self.configure(f" server s {LOOPBACK}:{port}\n")
        command = [sys.executable, "-m", "reusedproxy", "doctor", "--config", file, "--idle", "50s"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            self.assertIn("examines 1 server", running.stderr.readline())
            self.assertIn("10 s: 1 of 1 servers", running.stderr.readline())
            running.send_signal(signal.SIGINT)
            said, _ = running.communicate(timeout=10)
        self.assertEqual(running.returncode, 2, said)
        self.assertIn("keep-alive holds", said)
        self.assertIn("ended early", said)
