"""States of servers that an earlier process has saved: HAProxy's file read by us, and ours by HAProxy."""

from __future__ import annotations

import os
from pathlib import Path

from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import wait_for
from tests.integration.test_runtime_beside_haproxy import RuntimeTestCase, ask

#: `check` is never done within the test, but for the first ones, which are soon.
CHECKED = "check inter 3600s rise 3 fall 4"
SERVERS = f"""
    server plain {{host}}:81 weight 10
    server weighed {{host}}:81 weight 10
    server reweighed {{host}}:81 weight 10
    server down {{host}}:81 weight 10 {CHECKED}
    server up {{host}}:81 weight 10 {CHECKED}
    server stopping {{host}}:81 weight 10 {CHECKED}
    server unasked {{host}}:81 weight 10 {CHECKED}
    server maint {{host}}:81 weight 10
    server wasmaint {{host}}:81 weight 10 disabled
    server stillmaint {{host}}:81 weight 10 disabled
    server enabled {{host}}:81 weight 10 disabled
    server drain {{host}}:81 weight 10
    server redrained {{host}}:81 weight 10
    server moved {{host}}:82 weight 10
    server elsewhere {{host}}:81 weight 10
    server named localhost:81 weight 10
    server last localhost:81 weight 10 init-addr last
"""
TEXT = f"""
global
    stats socket {{d}}/admin.sock mode 600 level admin
    server-state-base {{d}}
    server-state-file states
backend servers
    load-server-state-from-file global
{SERVERS}
backend local
    load-server-state-from-file local
    server plain {{host}}:81 weight 10
backend other
    load-server-state-from-file local
    server-state-file-name {{d}}/states
    server plain {{host}}:81 weight 10
backend none
    load-server-state-from-file none
    server plain {{host}}:81 weight 10
"""
#: What `show servers state` of an earlier process has said.
STATES = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state
3 servers 1 plain 127.0.0.1 2 0 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
3 servers 2 weighed 127.0.0.1 2 0 5 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
3 servers 3 reweighed 127.0.0.1 2 0 5 9 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
3 servers 4 down 127.0.0.1 0 0 10 10 77 8 2 2 6 0 0 0 - 81 - 0 0 - - 0
3 servers 5 up 127.0.0.1 2 0 10 10 77 6 3 4 6 0 0 0 - 81 - 0 0 - - 0
3 servers 6 stopping 127.0.0.1 3 0 10 10 77 16 4 6 6 0 0 0 - 81 - 0 0 - - 0
3 servers 7 unasked 127.0.0.1 2 0 10 10 77 6 3 6 2 0 0 0 - 81 - 0 0 - - 0
3 servers 8 maint 127.0.0.1 0 1 10 10 77 1 0 0 8 0 0 0 - 81 - 0 0 - - 0
3 servers 9 wasmaint 127.0.0.1 2 0 10 10 77 1 0 0 0 0 0 0 - 81 - 0 0 - - 0
3 servers 10 stillmaint 127.0.0.1 0 5 10 10 77 1 0 0 8 0 0 0 - 81 - 0 0 - - 0
3 servers 11 enabled 127.0.0.1 2 4 10 10 77 1 0 0 0 0 0 0 - 81 - 0 0 - - 0
3 servers 12 drain 127.0.0.1 2 8 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
3 servers 13 redrained 127.0.0.1 2 8 0 0 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
3 servers 14 moved 127.0.0.1 2 0 10 10 77 1 0 2 0 0 0 0 - 8181 - 0 0 - - 0
3 servers 15 elsewhere 127.0.0.9 2 0 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
3 servers 16 named 127.0.0.9 2 0 10 10 77 1 0 2 0 0 0 0 localhost 83 - 0 0 - - 0
3 servers 17 last 127.0.0.8 2 0 10 10 77 1 0 2 0 0 0 0 localhost 83 - 0 0 - - 0
4 other 1 plain 127.0.0.1 2 8 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
5 none 1 plain 127.0.0.1 2 8 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
"""
LOCAL = """1
# local
6 local 1 plain 127.0.0.1 2 1 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
6 local 2 gone 127.0.0.1 2 1 10 10 77 1 0 2 0 0 0 0 - 81 - 0 0 - - 0
"""


class StatesBesideHAProxyTests(RuntimeTestCase):
    def setUp(self) -> None:
        super().setUp()
        if not haproxy_version():
            self.skipTest("needs haproxy")

    def begin(self, kind: type[Daemon], name: str, states: str, local: str = LOCAL, config: str = TEXT) -> Path:
        directory = self.directory / name
        os.makedirs(directory)
        (directory / "states").write_text(states)
        (directory / "local").write_text(local)
        return self.proxy(kind, name, config)

    def state(self, directory: Path) -> str:
        return ask(directory / "admin.sock", "show servers state").strip("\n") + "\n"

    def states(self, directory: Path) -> list[list[str]]:
        """Without numbers and seconds since the last change."""
        shown = []
        for row in self.state(directory).splitlines():
            words = row.split()
            if words and words[0].isdigit() and len(words) > 1:
                words[0] = words[2] = ""
                words[9] = "long ago" if int(words[9]) >= 77 else "now"
                enabled = int(words[13]) & 4
                # Of those that are not checked, what is remembered of checks says nothing.
                shown.append(words if enabled else [*words[:10], str(int(words[13]) & 2), *words[14:]])
        return shown

    def test_a_file_is_read_alike(self) -> None:
        ours, theirs = (
            self.states(self.begin(kind, name, STATES)) for kind, name in ((Daemon, "ours"), (HAProxy, "theirs"))
        )
        self.maxDiff = None
        self.assertEqual(ours, theirs)

    def test_what_one_says_the_other_takes(self) -> None:
        """After orders, there and back again: the states are the same."""
        orders = (
            "set server servers/plain state maint",
            "set server servers/up state drain",
            "set weight servers/stopping 3",
            "set server servers/maint state ready",
            "set server servers/enabled state maint",
            "set server local/plain state ready",
        )
        for number, (one, other) in enumerate(((Daemon, HAProxy), (HAProxy, Daemon))):
            first = self.begin(one, f"first{number}", STATES)
            for order in orders:
                ask(first / "admin.sock", order)
            said, was = self.state(first), self.states(first)
            self.running.stop()
            second = self.begin(other, f"second{number}", said, said)
            # What a maintenance has left of the checks' memory is not shown by who had none.
            self.assertEqual([each[:9] for each in self.states(second)], [each[:9] for each in was])
            self.running.stop()

    def test_files_that_cannot_be_used_are_told_of_and_nothing_else(self) -> None:
        for number, (text, said) in enumerate(
            (
                ("", "empty"),
                ("2\n", "version"),
                ("1\n3 servers 1 plain 127.0.0.1 2 0\n", "line 2"),
                (STATES[:-3], "has no end"),
                (STATES.replace("plain 127.0.0.1 2 0 10", "plain 127.0.0.1 7 0 10", 1), "srv_op_state value '7'"),
            )
        ):
            # Without a file, `init-addr last` has no address.
            directory = self.begin(Daemon, f"{number}", text, config=TEXT.replace("init-addr last", ""))
            wait_for(lambda said=said: self.running.has_said(said), said)  # type: ignore[misc]
            wait_for((directory / "admin.sock").exists, "the socket")
            self.assertIn(" local ", self.state(directory))
            self.running.stop()
