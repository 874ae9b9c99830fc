"""What the daemon says when it begins."""

from __future__ import annotations

from io import TextIOWrapper
from tempfile import TemporaryFile
from typing import Any
from unittest import mock

from twisted.logger import capturedLogs

from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from reusedproxy.net import descriptors
from reusedproxy.operators.logs.own import Output
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, ServiceTestCase


class LimitTests(ServiceTestCase):
    """What is asked for beside what the process may have."""

    def said(self, global_: str, server: str) -> list[str]:
        text = (
            f"global\n{global_}{HEAD}frontend f\n bind {LOOPBACK}:0\n"
            f" default_backend b\nbackend b\n server s {LOOPBACK}:1"
        )
        self.service = ProxyService(self.reactor, [self.text("proxy.cfg", f"{text} {server}\n")])
        said: list[str] = []
        self.patch(self.service, "announce", lambda level, text, section="": said.append(f"{level}: {text}"))
        self.patch(self.service.stalls.watchdog, "_timer", lambda seconds: None)
        self.patch(descriptors, "limit", lambda: 1000)
        self.service.assemble(bind=True)
        self.service.startService()
        self.addCleanup(self.stop)
        return [line for line in said if "limit" in line]

    def test_more_clients_than_descriptors(self) -> None:
        (line,) = self.said(" maxconn 5000\n", "")
        self.assertIn(
            "warning: maxconn 5000 may need 10100 file descriptors, two for each client, and the limit is 1000", line
        )

    def test_more_warm_connections_than_descriptors(self) -> None:
        (line,) = self.said(" maxconn 100\n", "pool-min-conn 950")
        self.assertIn("pool-min-conn asks for 950 connections in all, and the limit is 1000 file descriptors", line)

    def test_none_for_clients(self) -> None:
        """Everything would be open, and nobody served."""
        config = self.text("proxy.cfg", f"{HEAD}frontend f\n bind {LOOPBACK}:0\n http-request deny\n")
        service = ProxyService(self.reactor, [config])
        self.patch(descriptors, "limit", lambda: 4)
        (line,) = self.assertRaises(Refused, service.assemble, bind=True).lines
        self.assertIn("the limit of 4 file descriptors leaves none for clients", line)

    def test_enough(self) -> None:
        self.assertEqual(self.said(" maxconn 100\n", "pool-min-conn 90"), [])


class AnnouncementTests(ServiceTestCase):
    def test_what_a_terminal_would_obey_is_not_logged(self) -> None:
        """A file's name may be another's choice, and root reads the log."""
        service = ProxyService(self.reactor, [])
        with capturedLogs() as events:
            service.announce("alert", "reload: /x/\x1b[2J\x9b\u202e\nä.pem: cannot be read")
        self.assertEqual(events[0]["text"], "reload: /x/?[2J???ä.pem: cannot be read")

    def test_log_lines_are_told_where_the_own_log_goes(self) -> None:
        """It says everything itself, so `log stdout` says nothing of it a second time there."""
        service: Any = ProxyService(self.reactor, [])
        service.proxy = mock.Mock()
        with TemporaryFile() as file, TemporaryFile() as other:
            cases: list[tuple[dict[str, Any], bool]] = [
                ({"logFile": TextIOWrapper(file)}, True),
                ({"logfile": f"/proc/self/fd/{file.fileno()}", "nodaemon": True}, True),
                ({"logfile": "/nowhere", "nodaemon": True}, False),
                ({"syslog": True, "nodaemon": True}, False),
                ({"nodaemon": False}, False),
            ]
            for options, known in cases:
                service.own_output = Output.of(options)
                with capturedLogs() as events:
                    service.announce("alert", "Server b/s is DOWN")
                self.assertEqual(len(events), 1, options)
                level, text, section, *said_at = service.proxy.logs.event.call_args.args
                self.assertEqual((level, text, section), ("alert", "Server b/s is DOWN", ""))
                found = [said_at[0](each.fileno()) for each in (file, other)] if said_at else [False, False]
                self.assertEqual(found, [known, False], options)
                if "logFile" in options:
                    options["logFile"].detach()
        service.proxy = None
