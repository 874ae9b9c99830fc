"""Identities by rule: the daemon, a server that demands client certificates and says whose it was shown, and requests
of several tenants through reloads and renewals."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest import TestCase

from cryptography import x509
from cryptography.x509.oid import NameOID

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon, run_once
from tests.integration.peers import LOOPBACK, accept_each, temporary_directory, wait_for

TENANTS = ("acme", "globex", "initech", "umbrella")


class Mirror:
    """A server over TLS that answers each request with the subject of the client certificate that its connection has
    shown, the SNI, and the serial number of the certificate; and counts handshakes by subject."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.handshakes: Counter[str] = Counter()
        self.resumed: Counter[str] = Counter()
        #: Of each request: its first line and its Host; and whole heads.
        self.asked: list[tuple[str, str]] = []
        self.heads: list[str] = []
        #: Where requests are redirected to, "": they are answered.
        self.redirects = ""
        self._context = context
        context.sni_callback = self._note_name
        self._names: dict[int, str] = {}
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port = self._socket.getsockname()[1]
        accept_each(self._socket, self._serve)

    def close(self) -> None:
        self._socket.close()

    def _note_name(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self._names[id(connection)] = name or "-"

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError), accepted, self._context.wrap_socket(accepted, server_side=True) as connection:
            shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
            subject = str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
            self.handshakes[subject] += 1
            self.resumed[subject] += bool(connection.session_reused)
            said = f"{subject} {self._names.get(id(connection), '-')} {shown.serial_number:X}".encode()
            stream = connection.makefile("rb")
            while line := stream.readline():
                lines = [line.decode("latin-1")]
                while (more := stream.readline()) not in (b"\r\n", b""):
                    lines.append(more.decode("latin-1"))
                self._note(lines)
                status = "302 Found\r\nLocation: " + self.redirects if self.redirects else "200 OK"
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(said)}\r\n\r\n".encode()
                connection.sendall(head + (b"" if line.startswith(b"HEAD") else said))

    def _note(self, lines: list[str]) -> None:
        self.heads.append("".join(lines))
        hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
        if not lines[0].startswith("HEAD"):  # a check
            self.asked.append((lines[0].strip(), " ".join(hosts)))


def mutual(certificate: Path, authorities: Path) -> ssl.SSLContext:
    """A context for a server that demands certificates of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Bench:
    """Certificates of some tenants, their map, a mirror, and a daemon between."""

    def __init__(self, test: TestCase, tenants: tuple[str, ...] = TENANTS) -> None:
        self.directory = directory = temporary_directory(test)
        self.authority = Authority()
        self.authority.write(directory / "ca.pem")
        self.folder = directory / "tenants"
        self.folder.mkdir()
        self.serials = {name: self.issue(name) for name in tenants}
        (directory / "tenants.map").write_text("".join(f"{name} {self.folder}/{name}.pem\n" for name in tenants))
        hosts = [f"{name}.example" for name in tenants]
        self.authority.issue("mirror", hosts=["mirror", *hosts]).write(directory / "mirror.pem")
        self.mirror = Mirror(mutual(directory / "mirror.pem", directory / "ca.pem"))
        test.addCleanup(self.mirror.close)
        self.daemon = Daemon(directory / "daemon", "")
        test.addCleanup(self.daemon.stop)

    def issue(self, name: str) -> str:
        credential = self.authority.issue(name, client=True)
        credential.write(self.folder / f"{name}.pem")
        return f"{credential.certificate.serial_number:X}"

    def configure(self, words: str, rules: str = "    http-request set-var(txn.tenant) req.hdr(x-tenant)\n") -> None:
        server = f"{LOOPBACK}:{self.mirror.port} ssl verify required ca-file {self.directory}/ca.pem"
        self.daemon.write(f"backend servers\n{rules}    server one {server} {words}\n")

    def ask(self, tenant: str | None, host: str = "mirror") -> tuple[int, list[str]]:
        """Returns the status, and the words of the answer."""
        connection = http.client.HTTPConnection(LOOPBACK, self.daemon.port, timeout=10)
        try:
            headers = {"Host": host} | ({} if tenant is None else {"X-Tenant": tenant})
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().split()
        finally:
            connection.close()


def tenants_of(count: int) -> Iterator[str]:
    return (f"tenant{number}" for number in range(count))


BY_MAP = "crt %[var(txn.tenant),map({0}/tenants.map)]"


class IdentityTests(TestCase):
    def test_each_request_is_sent_under_its_own_identity(self) -> None:
        """And with connections, and TLS sessions, of its own; one that says none is answered 503."""
        bench = Bench(self)
        bench.configure("verifyhost mirror " + BY_MAP.format(bench.directory))
        bench.daemon.start()
        for _ in range(3):
            for name in TENANTS:
                self.assertEqual(bench.ask(name), (200, [name, "-", bench.serials[name]]))
        self.assertEqual(bench.mirror.handshakes, dict.fromkeys(TENANTS, 1))
        self.assertEqual(bench.ask(None)[0], 503)
        self.assertEqual(bench.ask("nobody")[0], 503)
        self.assertEqual(bench.ask("../../etc/passwd")[0], 503)
        said = "servers/one: a request gets no connection: 'crt %[var(txn.tenant),map("
        self.assertIn(said, bench.daemon.output)
        self.assertIn("finds nothing in this request", bench.daemon.output)

    def test_a_request_without_an_identity_is_sent_by_nobody_else(self) -> None:
        """Not by another server of the section either, whose certificate is one for all."""
        bench = Bench(self)
        bench.issue("everybody")
        other = f"{LOOPBACK}:{bench.mirror.port} ssl verify required ca-file {bench.directory}/ca.pem verifyhost mirror"
        bench.configure(
            f"verifyhost mirror {BY_MAP.format(bench.directory)}\n    balance first\n    option redispatch 1\n"
            f"    server two {other} crt {bench.folder}/everybody.pem"
        )
        bench.daemon.start()
        for tenant in ("nobody", None, "acme", "nobody"):
            self.assertEqual(bench.ask(tenant)[0], 200 if tenant == "acme" else 503, tenant)
        self.assertEqual(bench.mirror.handshakes, {"acme": 1})

    def test_a_folder_says_which_files_there_are(self) -> None:
        """No other file can be named, whatever the request says."""
        bench = Bench(self)
        bench.configure(f"verifyhost mirror crt {bench.folder}/%[req.hdr(x-tenant)].pem", "")
        bench.daemon.start()
        self.assertEqual(bench.ask("acme"), (200, ["acme", "-", bench.serials["acme"]]))
        for name in ("../ca", "../mirror", "acme/../globex", ".", "", "/acme", "acme.pem", "acme\tglobex", "ACME"):
            self.assertEqual(bench.ask(name)[0], 503, name)
        self.assertIn("which is none of the files that were read with the configuration", bench.daemon.output)
        self.assertEqual(bench.mirror.handshakes, {"acme": 1})

    def test_names_and_authorities_follow_the_request_too(self) -> None:
        """The name that is verified is the one of the rule, whatever the SNI says."""
        bench = Bench(self)
        Authority("another").write(bench.folder / "globex.ca")
        bench.authority.write(bench.folder / "acme.ca")
        (bench.directory / "authorities.map").write_text(
            f"acme {bench.folder}/acme.ca\nglobex {bench.folder}/globex.ca\n"
        )
        (bench.directory / "names.map").write_text("acme acme.example\nglobex globex.example\ninitech wrong.example\n")
        where = bench.directory
        bench.configure(
            f"sni req.hdr(host) {BY_MAP.format(where)} verifyhost %[var(txn.tenant),map({where}/names.map)]"
            f" ca-file %[var(txn.tenant),map({where}/authorities.map)]"
        )
        bench.daemon.start()
        self.assertEqual(bench.ask("acme", "some.host"), (200, ["acme", "some.host", bench.serials["acme"]]))
        self.assertEqual(bench.ask("globex")[0], 503)
        self.assertEqual(bench.ask("initech")[0], 503)  # no authority is known for it
        self.assertEqual(bench.mirror.handshakes, {"acme": 1})

    def test_listed_identities_are_warm_and_the_first_one_is_that_of_checks(self) -> None:
        bench = Bench(self)
        listed = bench.directory / "identities"
        listed.write_text(
            f"# who there is\ncrt {bench.folder}/acme.pem pool-min-conn 3\ncrt {bench.folder}/globex.pem\n"
        )
        bench.configure(
            f"verifyhost mirror {BY_MAP.format(bench.directory)} pool-identities {listed} pool-min-conn 1"
            " check inter 1s"
        )
        bench.daemon.start()
        wait_for(lambda: bench.daemon.pool("one", "idle") == [4], "the floors")
        wait_for(lambda: bench.mirror.handshakes["acme"] >= 3 and bench.mirror.handshakes["globex"] == 1, "handshakes")
        for name in ("acme", "globex"):
            self.assertEqual(bench.ask(name), (200, [name, "-", bench.serials[name]]))
        self.assertEqual(bench.mirror.handshakes["globex"], 1)
        self.assertEqual(set(bench.mirror.handshakes), {"acme", "globex"})

    def test_nothing_is_mixed_up_by_reloads_and_renewals_under_load(self) -> None:
        """A renewed file ends the connections of its own identity only; of requests that begin after the reload, each
        is sent with the new one."""
        bench = Bench(self)
        listed = bench.directory / "identities"
        listed.write_text("".join(f"crt {bench.folder}/{name}.pem\n" for name in TENANTS[:3]))
        bench.configure(f"verifyhost mirror {BY_MAP.format(bench.directory)} pool-identities {listed} pool-min-conn 1")
        bench.daemon.start()
        wait_for(lambda: bench.daemon.pool("one", "idle") == [3], "the floors")
        over, known = threading.Event(), {name: {serial} for name, serial in bench.serials.items()}
        with ThreadPoolExecutor(4) as threads:
            loads = [threads.submit(self._load, bench, name, over, known) for name in TENANTS]
            try:
                for turn in range(1, 4):
                    name = TENANTS[turn]
                    known[name].add(serial := bench.issue(name))
                    bench.daemon.signal(signal.SIGHUP)
                    self._until(bench, name, serial)
                    known[name] = {serial}
                    self.assertEqual(bench.ask(name), (200, [name, "-", serial]))
            finally:
                over.set()
            self.assertEqual([load.result() for load in loads], [[], [], [], []])
        # acme's was never renewed, and its connections are those of the start.
        self.assertEqual(bench.mirror.handshakes["acme"], 1)

    @staticmethod
    def _until(bench: Bench, name: str, serial: str) -> None:
        wait_for(lambda: bench.ask(name)[1][2] == serial, f"the new certificate of {name}")

    @staticmethod
    def _load(bench: Bench, tenant: str, over: threading.Event, known: dict[str, set[str]]) -> list[object]:
        """Returns what went wrong."""
        wrong: list[object] = []
        while not over.is_set():
            status, words = bench.ask(tenant)
            if status != 200 or words[0] != tenant or words[2] not in known[tenant] | {bench.serials[tenant]}:
                wrong.append((tenant, status, words))
        return wrong

    def test_a_renewed_certificate_that_the_server_refuses_has_the_reload_refused(self) -> None:
        """And everything stays as it was; one that it takes is warm before the old one goes."""
        bench = Bench(self)
        listed = bench.directory / "identities"
        listed.write_text(f"crt {bench.folder}/acme.pem\ncrt {bench.folder}/globex.pem\n")
        bench.configure(f"verifyhost mirror {BY_MAP.format(bench.directory)} pool-identities {listed} pool-min-conn 2")
        bench.daemon.start()
        wait_for(lambda: bench.daemon.pool("one", "idle") == [4], "the floors")
        Authority("another").issue("globex", client=True).write(bench.folder / "globex.pem")
        bench.daemon.signal(signal.SIGHUP)
        wait_for(lambda: "reload refused" in bench.daemon.output or "refuse" in bench.daemon.output, "the refusal", 20)
        for name in ("acme", "globex"):
            self.assertEqual(bench.ask(name), (200, [name, "-", bench.serials[name]]))
        serial = bench.issue("globex")
        before = bench.mirror.handshakes["globex"]
        bench.daemon.signal(signal.SIGHUP)
        self._until(bench, "globex", serial)
        self.assertEqual(bench.mirror.handshakes["globex"] - before, 2)  # the floor, and none for the request

    def test_what_is_wrong_is_said_before_the_start(self) -> None:
        bench = Bench(self)
        for words, said in (
            ("verifyhost mirror crt %[req.hdr(x)]", "nothing says which files requests may choose among"),
            (f"verifyhost mirror {BY_MAP.format(bench.directory)} check", "checks begin before a request says who"),
            ("verifyhost mirror crt nowhere/%[req.hdr(x)]", "the folder nowhere cannot be read"),
            (f"verifyhost mirror crt {bench.directory}/%[req.hdr(x)].map", "tenants.map: is no PEM file"),
        ):
            bench.configure(words)
            ended = run_once("--check", "--config", str(bench.daemon.file))
            self.assertNotEqual(ended.returncode, 0)
            self.assertIn(said, ended.stdout + ended.stderr)
