"""`option egress`: the example, started whole before partners of its own; and what was tried to reach anybody else."""

from __future__ import annotations

import re
import socket
import subprocess
from functools import partial
from unittest import TestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import ROOT, Daemon
from tests.integration.names import NameServerThread
from tests.integration.peers import LOOPBACK, missing, run_curl, temporary_directory, wait_for
from tests.integration.test_identities import Mirror, mutual
from tests.ports import free_port

BANK, GATEWAY, CLEARING = "api.bank.example", "pay.gateway.example", "clearing.example"


class Egress:
    """The example's configuration with other ports and names of files, a name server, two partners and somebody else,
    who would answer any request."""

    def __init__(self, test: TestCase, networks: str = "127.0.0.0/8") -> None:
        self.directory = directory = temporary_directory(test)
        self.names = NameServerThread()
        test.addCleanup(self.names.stop)
        self.partners = {name: self._partner(test, name) for name in (BANK, GATEWAY, CLEARING)}
        self.names.zone.records |= {name: [("A", LOOPBACK)] for name in self.partners}
        self.other = socket.create_server((LOOPBACK, 0))
        self.other.setblocking(False)
        test.addCleanup(self.other.close)
        Authority().write(directory / "system.pem")
        self.port = free_port()
        self.daemon = Daemon(directory / "daemon", "")
        test.addCleanup(self.daemon.stop)
        self.daemon.file.write_text(self.text(networks))
        self.daemon.port = self.port

    def _partner(self, test: TestCase, name: str) -> Mirror:
        authority = Authority(f"CA of {name}")
        short = name.split(".")[0 if name == CLEARING else 1]
        authority.write(self.directory / f"{short}-ca.pem")
        authority.issue(f"us at {short}", client=True).write(self.directory / f"{short}-client.pem")
        authority.issue(name, hosts=[name]).write(self.directory / f"{short}.pem")
        mirror = Mirror(mutual(self.directory / f"{short}.pem", self.directory / f"{short}-ca.pem"))
        test.addCleanup(mirror.close)
        return mirror

    def text(self, networks: str) -> str:
        """The example; partners are on this machine, which has to be allowed."""
        text = (ROOT / "examples/egress.cfg").read_text()
        for before, after in (
            ("# ca-base /etc/reusedproxy/partners", f"ca-base {self.directory}"),
            ("# crt-base /etc/reusedproxy/partners", f"crt-base {self.directory}"),
            ("parse-resolv-conf", f"nameserver one {LOOPBACK}:{self.names.port}\n    timeout resolve 200ms"),
            ("bind 127.0.0.1:3128", f"bind {LOOPBACK}:{self.port}"),
            ("api.bank.example:443", f"{BANK}:{self.partners[BANK].port}"),
            ("pay.gateway.example:8443", f"{GATEWAY}:{self.partners[GATEWAY].port}"),
            ("clearing.example:443", f"{CLEARING}:{self.partners[CLEARING].port}"),
            ("egress-net 10.20.0.0/16", ""),
            ("@system-ca", "system.pem"),
            ("pool-max-age 1h", f"pool-max-age 1h egress-net {networks}" if networks else "pool-max-age 1h"),
        ):
            assert before in text, before
            text = text.replace(before, after)
        return text

    def start(self) -> None:
        self.daemon.start()

    def raw(self, request: str) -> tuple[int, str]:
        """Returns the status and the body of what is answered to these bytes."""
        with socket.create_connection((LOOPBACK, self.port), 10) as connection:
            connection.sendall(request.encode("latin-1"))
            connection.settimeout(10)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
                head, end, body = answer.partition(b"\r\n\r\n")
                length = [
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if b"ontent-" in line[:8] and b"ength" in line
                ]
                if end and length and len(body) >= length[0]:
                    break
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode("latin-1")

    def get(self, target: str, host: str | None = None, *lines: str) -> tuple[int, str]:
        """Asks for a target; `host` None: as its authority says."""
        host = re.split("[/?#]", target.partition("//")[2])[0] if host is None else host
        return self.raw("\r\n".join((f"GET {target} HTTP/1.1", f"Host: {host}", *lines, "", "")))

    def reached(self) -> bool:
        """Whether somebody has connected to who is no partner."""
        try:
            self.other.accept()
        except BlockingIOError:
            return False
        return True


class ExampleTests(TestCase):
    def test_it_is_as_it_stands_a_configuration(self) -> None:
        """Only its files are missing here."""
        bench = Egress(self)
        (bench.directory / "plain.cfg").write_text((ROOT / "examples/egress.cfg").read_text())
        daemon = bench.daemon
        daemon.file = bench.directory / "plain.cfg"
        done = subprocess.run([*daemon.command(), "--check"], check=False, capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        self.assertIn("bank-ca.pem: cannot be read", said)
        self.assertNotIn("unknown", said)

    def test_each_partner_is_warm_before_it_is_asked_for_and_gets_our_certificate_for_it(self) -> None:
        bench = Egress(self)
        bench.start()
        bank, gateway = bench.partners[BANK], bench.partners[GATEWAY]
        wait_for(lambda: bank.handshakes.total() >= 4 and gateway.handshakes.total() >= 2, "the floors", 20)
        for name in ("bank", "gateway"):  # which goes where its connections stand, a moment later
            wait_for(partial(bench.daemon.has_said, f"partners/{name} administratively READY"), "the address", 20)
        before = bank.handshakes.total()
        status, body = bench.get(f"http://{BANK}/accounts?x=1")
        self.assertEqual((status, body.split()[:4]), (200, ["us", "at", "bank", BANK]))
        self.assertLessEqual(bank.handshakes.total() - before, 1)  # none for the request; the floor may be made good
        status, body = bench.get("/pay", GATEWAY)
        self.assertEqual((status, body.split()[:4]), (200, ["us", "at", "gateway", GATEWAY]))
        # The server is told its own name, and a path, however it was asked for.
        self.assertEqual(bank.asked[-1], ("GET /accounts?x=1 HTTP/1.1", f"{BANK}:{bank.port}"))
        self.assertEqual(gateway.asked[-1], ("GET /pay HTTP/1.1", f"{GATEWAY}:{gateway.port}"))

    def test_curl_as_an_application_uses_it(self) -> None:
        if missing("curl"):
            self.skipTest(missing("curl"))
        bench = Egress(self)
        bench.start()
        wait_for(lambda: bench.get("/", BANK)[0] == 200, "the partner", 20)
        proxy = f"http://{LOOPBACK}:{bench.port}"
        answer = run_curl("--noproxy", "", "--proxy", proxy, "--proxy-user", "app:secret", f"http://{BANK}/")
        self.assertEqual(answer.status, 200)
        self.assertNotIn("Proxy-Authorization", "".join(bench.partners[BANK].heads))
        self.assertNotEqual(run_curl("--noproxy", "", "--proxy", proxy, f"https://{BANK}/").exit, 0)
        self.assertEqual(bench.get("/", "evil.example")[0], 403)


class EscapeTests(TestCase):
    """What was tried to reach somebody else; docs/egress.md tells of it."""

    def test_nobody_else_is_reached(self) -> None:
        bench = Egress(self)
        bench.start()
        wait_for(lambda: bench.get("/", BANK)[0] == 200, "the partner", 20)
        other = bench.other.getsockname()[1]
        bank = bench.partners[BANK].port
        wrong = []
        for target, host, expected in (
            # Other hosts, as such and in every spelling of an address.
            ("/", "evil.example", 403),
            ("http://evil.example/", None, 403),
            ("/", f"localhost:{other}", 403),
            ("/", f"127.0.0.1:{other}", 403),
            (f"http://127.0.0.1:{other}/", None, 403),
            (f"http://127.1:{other}/", None, 403),
            (f"http://2130706433:{other}/", None, 403),
            (f"http://0x7f000001:{other}/", None, 403),
            (f"http://0177.0.0.1:{other}/", None, 403),
            (f"http://0:{other}/", None, 403),
            (f"http://[::1]:{other}/", None, 403),
            (f"http://[::ffff:127.0.0.1]:{other}/", None, 403),
            ("http://169.254.169.254/latest/meta-data/", None, 403),
            # Ports: those that are listed, and no other.
            (f"http://{BANK}:{other}/", None, 403),
            ("/", f"{BANK}:{other}", 403),
            ("/", f"{BANK}:22", 403),
            ("/", f"{BANK}:{bank + 65536}", 400 if bank + 65536 > 99999 else 403),
            ("/", f"{BANK}:0{bank}", 400 if len(str(bank)) == 5 else 200),
            ("/", f"{BANK}:-1", 400),
            # Userinfo, and hosts that only begin or end like a partner.
            (f"http://{BANK}@127.0.0.1:{other}/", None, 400),
            (f"http://{BANK}:{bank}@evil.example/", None, 400),
            ("/", f"{BANK}@evil.example", 400),
            (f"http://{BANK}.evil.example/", None, 403),
            (f"http://evil{BANK}/", None, 403),
            (f"http://{BANK}%00.evil.example/", None, 403),
            (f"http://{BANK}\\.evil.example/", None, 400),
            (f"http://{BANK}#@evil.example/", None, 400),
            (f"http://{BANK}?@evil.example/", None, 200),  # a query, for the bank
            # What the target and Host say must be the same.
            (f"http://{BANK}/", "evil.example", 400),
            ("http://evil.example/", BANK, 400),
            ("/", f"{BANK}\r\nHost: evil.example", 400),
            # A path is a path, whatever it looks like.
            (f"//evil.example:{other}/", BANK, 200),
            (f"/http://127.0.0.1:{other}/", BANK, 200),
            # Names: of other characters, with dots at their ends.
            ("/", "api.b\u00e4nk.example", 400),
            ("/", "api.bank.xn--example-", 403),
            ("/", f"{BANK}..", 403),
            ("/", f".{BANK}", 403),
            ("/", f"{BANK.upper()}.", 200),
            # Other schemes, and none.
            (f"ftp://{BANK}/", None, 400),
            (f"file://{BANK}/etc/passwd", None, 400),
            ("*", BANK, 400),
            ("", BANK, 400),
        ):
            status, body = bench.get(target, host)
            if status != expected or (status == 200 and body.split()[:4] != ["us", "at", "bank", BANK]):
                wrong.append((target, host, status, body))
        self.assertEqual(wrong, [])
        self.assertFalse(bench.reached())
        self.assertEqual({host for _, host in bench.partners[BANK].asked}, {f"{BANK}:{bank}"})

    def test_connect_is_refused(self) -> None:
        bench = Egress(self)
        bench.start()
        other = bench.other.getsockname()[1]
        for target in (f"127.0.0.1:{other}", f"{BANK}:443", f"{BANK}:{bench.partners[BANK].port}"):
            self.assertEqual(bench.raw(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")[0], 405)
        self.assertFalse(bench.reached())

    def test_a_name_that_leads_to_this_machine_is_not_dialled(self) -> None:
        """Neither at the start, nor when its answers change: each dial is judged by the address that it goes to."""
        bench = Egress(self, networks="")
        bench.start()
        said = "127.0.0.1 is not public (egress-net)"
        wait_for(lambda: said in bench.daemon.output, "the refusal", 20)
        self.assertEqual(bench.get("/", BANK)[0], 503)
        self.assertEqual(bench.partners[BANK].handshakes.total(), 0)

    def test_a_partner_that_moves_out_of_its_network_is_reached_no_more(self) -> None:
        """As in DNS rebinding."""
        bench = Egress(self, networks="127.0.0.1/32")
        bench.start()
        wait_for(lambda: bench.get("/", BANK)[0] == 200, "the partner", 20)
        elsewhere = socket.create_server(("127.0.0.2", bench.partners[BANK].port))
        elsewhere.setblocking(False)
        self.addCleanup(elsewhere.close)
        bench.names.zone.records[BANK] = [("A", "127.0.0.2")]
        wait_for(lambda: "127.0.0.2 is not of 127.0.0.1/32" in bench.daemon.output, "the refusal", 40)
        wait_for(lambda: bench.get("/", BANK)[0] == 503, "the end of what was open", 20)
        self.assertRaises(BlockingIOError, elsewhere.accept)

    def test_a_redirect_is_the_applications_business(self) -> None:
        bench = Egress(self)
        other = bench.other.getsockname()[1]
        bench.partners[BANK].redirects = f"http://127.0.0.1:{other}/"
        bench.start()
        wait_for(lambda: bench.get("/", BANK)[0] == 302, "the redirect", 20)
        self.assertFalse(bench.reached())
