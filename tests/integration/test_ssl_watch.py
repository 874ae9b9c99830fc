"""`ssl-watch`: certificates of both sides are replaced on disk, and nobody sends a signal."""

from __future__ import annotations

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from urllib.error import HTTPError

from tests.integration.daemon import Daemon
from tests.integration.peers import wait_for
from tests.integration.test_main_job import ask
from tests.integration.test_tls_listeners import NAME, FrontTestCase


class WatchTests(FrontTestCase):
    """A daemon that looks every second, under load all the while: clients in the clear and over TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.servers = self.servers.rstrip() + " pool-min-conn 2\n"
        self.addCleanup(setattr, Daemon, "HEAD", Daemon.HEAD)
        Daemon.HEAD = Daemon.HEAD.replace("global\n", "global\n    ssl-watch 1s\n", 1)
        self.proxy(f"crt {self.directory}/server.pem")

    def subject(self) -> str:
        found = [line for line in self.s_client().splitlines() if line.startswith("subject=")]
        return found[0].removeprefix("subject=").replace(" ", "")

    def statuses(self, over: Event, port: int) -> Counter[int]:
        counted: Counter[int] = Counter()
        while not over.is_set():
            try:
                counted[ask(port)] += 1
            except HTTPError as error:
                counted[error.code] += 1
            time.sleep(0.002)
        return counted

    def over_tls(self, over: Event) -> Counter[int]:
        counted: Counter[int] = Counter()
        while not over.is_set():
            answer = self.curl()
            counted[answer.status if answer.exit == 0 else -answer.exit] += 1
        return counted

    def alerts(self) -> list[str]:
        """Of the daemon's own log; its `log stdout` says the same once more."""
        return [line for line in self.daemon.output.splitlines() if " error: " in line]

    def test_new_files_are_shown_and_bad_ones_are_not(self) -> None:
        """And every request is answered, without a handshake on its way."""
        # The daemon accepts before its floor stands. Files that come one long after the other are two renewals.
        wait_for(lambda: self.daemon.pool("one", "idle") == [2], "the floor")
        renewed = self.authority.issue("renewed", hosts=["renewed", NAME])
        visitor = self.authority.issue("another visitor", client=True)
        over = Event()
        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(self.statuses, over, self.daemon.port), threads.submit(self.over_tls, over)]
            try:
                renewed.write(self.directory / "server.pem")
                visitor.write(self.directory / "visitor.pem")
                wait_for(lambda: "files of TLS (" in self.daemon.output, "the reload", seconds=20)
                self.assertEqual(self.subject(), "CN=renewed")
                self.assertTrue(re.search("generation</th><td> <b>2</b>", self.daemon.page()))
                (self.directory / "server.pem").write_text("nothing")
                said = f"crt {self.directory}/server.pem: is no PEM file"
                wait_for(lambda: said in self.daemon.output, "the alert", seconds=20)
                time.sleep(3)  # looks pass, and none of them says it again
                self.assertEqual(self.subject(), "CN=renewed")
            finally:
                over.set()
            clear, secure = (each.result(60) for each in asked)
        self.assertEqual((set(clear), set(secure)), ({200}, {200}), (clear, secure))
        self.assertGreater(clear[200], 100)
        (alert,) = self.alerts()
        self.assertIn(f"ssl-watch: {self.daemon.file}:", alert)
        self.assertEqual(self.daemon.pool("one", "handshakes_request_path"), [0])
