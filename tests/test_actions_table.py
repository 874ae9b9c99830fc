"""docs/actions.md: which actions of HAProxy's there are in which rules, and why not in others."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.reader import ConfigurationError, Source, read_configuration

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "actions.md").read_text()
#: The columns: where rules stand, and in which mode.
RULES = {
    "tcp-request connection": "tcp",
    "tcp-request session": "tcp",
    "tcp-request content": "tcp",
    "tcp-response content": "tcp",
    "http-request": "http",
    "http-response": "http",
    "http-after-response": "http",
}
#: HAProxy's table of actions, as its manual of 3.5 has it (4.3): where each is, by the numbers of these columns. The
#: table leaves out `del-acl` of `http-after-response`, which is there since 2.8.
HAPROXY = {
    "accept": "0123", "add-acl": "45", "add-header": "456", "add-headers-bin": "456", "allow": "456",
    "attach-srv": "1", "auth": "4", "cache-store": "5", "cache-use": "4", "capture": "2456", "close": "3",
    "del-acl": "456", "del-header": "456", "del-headers-bin": "456", "del-map": "456", "deny": "45",
    "disable-l7-retry": "4", "do-log": "0123456", "do-resolve": "24", "early-hint": "4",
    "expect-netscaler-cip": "0", "expect-proxy": "0", "normalize-uri": "4", "pause": "45", "redirect": "45",
    "reject": "01234", "replace-header": "456", "replace-path": "4", "replace-pathq": "4", "replace-uri": "4",
    "replace-value": "456", "return": "45", "sc-add-gpc": "0123456", "sc-inc-gpc": "0123456",
    "sc-inc-gpc0": "0123456", "sc-inc-gpc1": "0123456", "sc-set-gpt": "0123456", "sc-set-gpt0": "0123456",
    "send-spoe-group": "2345", "set-bandwidth-limit": "2345", "set-bc-mark": "24", "set-bc-tos": "24",
    "set-dst": "0124", "set-dst-port": "0124", "set-fc-mark": "012345", "set-fc-tos": "012345", "set-header": "456",
    "set-headers-bin": "456", "set-log-level": "23456", "set-map": "456", "set-mark": "012345", "set-method": "4",
    "set-nice": "2345", "set-path": "4", "set-pathq": "4", "set-priority-class": "24", "set-priority-offset": "24",
    "set-query": "4", "set-retries": "24", "set-src": "0124", "set-src-port": "0124", "set-status": "56",
    "set-timeout": "45", "set-tos": "012345", "set-uri": "4", "set-var": "0123456", "set-var-fmt": "0123456",
    "silent-drop": "012345", "strict-mode": "456", "switch-mode": "2", "tarpit": "4", "track-sc0": "01245",
    "unset-var": "0123456", "use-service": "24", "wait-for-body": "45", "wait-for-handshake": "4",
}  # fmt: skip
#: What must follow an action, where that is anything.
ARGUMENTS = {
    **dict.fromkeys(("add-acl", "del-acl", "del-map"), "(/none) %[src]"), "set-map": "(/none) %[src] a",
    **dict.fromkeys(("add-header", "set-header", "early-hint"), " X a"), "del-header": " X", "capture": " src len 9",
    **dict.fromkeys(("replace-header", "replace-value"), " X a b"), "do-resolve": "(txn.a,dns) str(a.test)",
    **dict.fromkeys(("replace-path", "replace-pathq", "replace-uri"), " a b"), "expect-proxy": " layer4",
    "expect-netscaler-cip": " layer4", "normalize-uri": " path-strip-dot", "pause": " 1s", "redirect": " location /a",
    "sc-add-gpc": "(0,0) 1", "sc-inc-gpc": "(0,0)", "sc-inc-gpc0": "(0)", "sc-inc-gpc1": "(0)",
    "sc-set-gpt": "(0,0) 1", "sc-set-gpt0": "(0) 1", "set-bandwidth-limit": " l",
    **dict.fromkeys(("set-dst", "set-src"), " src"), **dict.fromkeys(("set-dst-port", "set-src-port"), " int(80)"),
    **dict.fromkeys(("set-fc-mark", "set-fc-tos", "set-mark", "set-tos", "set-bc-mark", "set-bc-tos"), " 1"),
    "set-log-level": " silent", "set-method": " GET", "set-nice": " 1", "set-retries": " 1", "set-status": " 404",
    **dict.fromkeys(("set-path", "set-pathq", "set-query", "set-uri"), " /a"), "set-timeout": " server 5s",
    **dict.fromkeys(("set-priority-class", "set-priority-offset"), " int(1)"), "set-var": "(sess.a) src",
    "set-var-fmt": "(sess.a) %[src]", "strict-mode": " on", "switch-mode": " http", "track-sc0": " src table t",
    "unset-var": "(sess.a)", "use-service": " prometheus-exporter", "wait-for-body": " time 1s",
    "cache-use": " c", "cache-store": " c", "send-spoe-group": " a b", "attach-srv": " be/s",
    **dict.fromkeys(("add-headers-bin", "set-headers-bin", "del-headers-bin"), " var(txn.a)"),
}  # fmt: skip
HEAD = (
    "defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
    "resolvers dns\n nameserver a 192.0.2.53:53\n"
    "backend t\n stick-table type ip size 1k store gpc(2),gpt(2)\n"
)


def is_done(column: int, action: str, mode: str = "") -> bool:
    """Whether a line with this action is taken, in this mode or in the one of such rules."""
    rules, own = [*RULES.items()][column]
    mode = mode or own
    said = ARGUMENTS.get(action, "")
    if action == "capture" and column in (5, 6):
        said = " hdr(x) id 0"
    line = f"{rules} {action}{said}"
    text = (
        f"{HEAD}listen l\n mode {mode}\n bind :80\n declare capture response len 9\n"
        f" filter bwlim-in l default-limit 1k default-period 1s\n {line}\n server s 192.0.2.1:1\n"
    )
    try:
        read_configuration([Source("t.cfg", text)], {})
    except ConfigurationError as error:
        assert all("capture" not in each.text or action == "capture" for each in error.faults), error.faults
        return False
    return True


def table() -> dict[str, list[str]]:
    """The cells of the table, by the action: "yes", "no", or "" where HAProxy has no such action."""
    rows = re.findall(r"(?m)^\| `([a-z0-9-]+)` \|(.*)\|$", TEXT)
    return {name: [cell.strip() for cell in cells.split("|")][: len(RULES)] for name, cells in rows}


class ActionsTableTests(SynchronousTestCase):
    def test_the_table_says_what_is_done(self) -> None:
        found = table()
        self.assertEqual(sorted(found), sorted(HAPROXY))
        for action, columns in HAPROXY.items():
            expected = [
                "" if str(column) not in columns else "yes" if is_done(column, action) else "no"
                for column in range(len(RULES))
            ]
            self.assertEqual(found[action], expected, action)

    def test_rules_of_connections_are_done_in_either_mode(self) -> None:
        """But for `do-resolve`, which `http-request` has in mode http, as the error says."""
        for action, columns in HAPROXY.items():
            for column in (each for each in map(int, columns) if each < 4):
                expected = is_done(column, action) and action != "do-resolve"
                self.assertEqual(is_done(column, action, "http"), expected, (column, action))

    def test_what_is_not_done_has_its_reason(self) -> None:
        for action, cells in table().items():
            if "no" in cells:
                (row,) = re.findall(rf"(?m)^\| `{action}` \|.*\| (.*) \|$", TEXT)
                self.assertGreater(len(row), 10, action)
