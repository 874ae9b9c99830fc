"""The statistics page of reusedproxy and of HAProxy with the same lines: who may see it, and what is obeyed."""

from __future__ import annotations

import csv
import io
import re
from unittest import TestCase

from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.integration.test_auth_beside_haproxy import answer, basic
from tests.ports import free_ports

TEXT = """
backend servers
    server s1 {host}:1 weight 3
    server s2 {host}:2 check inter 60s
    server s3 {host}:3 disabled backup
userlist team
    group admins
    user root insecure-password r00t groups admins
    user guest insecure-password look
frontend closed
    bind {host}:{closed}
    stats uri /st
    stats auth a:b:c
    stats auth x:y
    default_backend servers
frontend ruled
    bind {host}:{ruled}
    stats uri /st
    stats http-request deny if {{ hdr(x-no) -m found }}
    stats http-request auth realm Ops unless {{ http_auth(team) }}
    stats admin if {{ http_auth_group(team) admins }}
    stats scope servers
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    stats auth q:r
    stats realm Inherited
listen inheriting
    bind {host}:{inheriting}
    server s {host}:1
"""
#: Frontend, request line, fields and body; what differs in the page itself is not compared.
ASKED = (
    *((name, line, b"", b"") for name in ("closed", "ruled") for line in (b"GET /st", b"HEAD /st", b"GET /st;csv")),
    *(("closed", b"GET " + target, b"", b"") for target in (b"http://a/st", b"/st?x", b"/status", b"/st;json")),
    ("closed", b"GET /st", basic(b"a:b:c"), b""),
    ("closed", b"GET /st;csv", basic(b"x:y"), b""),
    ("closed", b"GET /st", basic(b"x:z"), b""),
    ("closed", b"POST /st", b"", b"s=s1&b=servers&action=maint"),
    ("closed", b"POST /st", basic(b"x:y"), b"s=s1&b=servers&action=maint"),
    ("ruled", b"GET /st", b"X-No: 1\r\n" + basic(b"root:r00t"), b""),
    ("ruled", b"GET /st", basic(b"guest:look"), b""),
    ("ruled", b"GET /st;csv", basic(b"guest:look"), b""),
    ("ruled", b"POST /st", basic(b"guest:look"), b"s=s1&b=servers&action=maint"),
    ("inheriting", b"GET /haproxy?stats", b"", b""),
    ("inheriting", b"GET /haproxy?stats", basic(b"q:r"), b""),
)
FORMS = (
    "s=s1&b=servers&action=drain",
    "s=s1&s=s3&b=servers&action=ready",
    "s=s1&s=no&b=servers&action=maint",
    "s=no&b=servers&action=maint",
    "s=s1&b=no&action=maint",
    "s=s1&b=closed&action=maint",
    "s=s1&b=servers&action=no",
    "s=s1&b=servers",
    "s=s1&action=ready",
    "b=servers&action=ready",
    "x=y",
    "action=ready&b=servers&s=%731",
    "s=s1&b=servers&action=maint&action=ready",
    "s=s1&b=servers&action=enable",
    "s=s1&b=servers&action=disable",
    "s=s1&b=servers&action=enable",
    "s=s1&b=servers&action=stop",
    "s=s1&b=servers&action=start",
    "s=s1&b=servers&action=hdown",
    "s=s2&b=servers&action=hdown",
    "s=s2&b=servers&action=hrunn",
    "s=s2&b=servers&action=hnolb",
    "s=s2&b=servers&action=dhlth",
    "s=s1&b=servers&action=dhlth",
    "s=s2&b=servers&action=ehlth",
    "s=s2&b=servers&action=dagent",
    "s=s2&b=servers&action=shutdown",
    "s=s3&b=servers&action=maint",
)


def outcome(said: bytes) -> tuple[bytes, ...]:
    """What decides: the status, whom it asks, where it sends the client; and a page that refuses."""
    head, _, body = said.partition(b"\r\n\r\n")
    fields = re.findall(rb"(?im)^((?:location|www-authenticate|content-type): [^;\r]*)", head)
    return head.split(b"\r\n")[0], *sorted(fields), b"" if b" 200 " in head[:20] else body


class StatsBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("no haproxy: apt-get install haproxy")

    def test_who_may_see_and_change_it(self) -> None:
        """The same answers, the same codes for forms, the same states of servers afterwards."""
        directory, seen = temporary_directory(self), []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            ports = dict(zip(("closed", "ruled", "inheriting"), free_ports(3), strict=True))
            daemon = make(directory / name, TEXT.format(host=LOOPBACK, **ports))
            self.addCleanup(daemon.stop)
            daemon.start()

            def ask(section: str, line: bytes, fields: bytes, body: bytes, ports: dict[str, int] = ports) -> bytes:
                length = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                return answer(ports[section], line + b" HTTP/1.1", fields + length if body else fields)

            said: list[tuple[object, tuple[object, ...]]] = [(asked, outcome(ask(*asked))) for asked in ASKED]
            for form in FORMS:
                got = ask("ruled", b"POST /st", basic(b"root:r00t"), form.encode())
                text = ask("ruled", b"GET /st;csv", basic(b"guest:look"), b"").partition(b"\r\n\r\n")[2]
                # HAProxy's answer is chunked.
                lines = [line for line in text.decode().splitlines() if "," in line]
                rows = csv.DictReader(io.StringIO("\n".join(lines).removeprefix("# ")))
                states = [(row["svname"], row["status"], row["weight"], row["act"]) for row in rows]
                said.append((form, (*outcome(got), *states)))
            seen.append(said)
            daemon.stop()
        for (asked, mine), (_, its) in zip(*seen, strict=True):
            self.assertEqual(mine, its, asked)
