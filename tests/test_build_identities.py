"""Files among which requests choose: which there are, which stay the same identity at a reload, and what is chosen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.certificates import FilesOfTLS
from reusedproxy.build.servers.identities import Identities, loading
from reusedproxy.config.model import Server
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.net.slices import run_through
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.identity import ClientIdentity
from reusedproxy.net.tls.issuers import reading_issuers
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.pool.named import IdentityRefused, Name
from reusedproxy.rules.maps import Map
from tests.rulefakes import Seen
from tests.test_config_servers import HEAD
from tests.wire import certificates, scratch


class IdentitiesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = scratch(self)
        self.authority = certificates().authority
        self.authority.write(self.folder / "ca.pem")
        self.faults: list[str] = []

    def issue(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        return self.authority.issue(name, client=True, key="ecdsa").write(path)

    def text(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.write_text("".join(line + "\n" for line in lines))
        return path

    def server(self, words: str) -> Server:
        line = (
            f" server a 192.0.2.1:443 ssl verify required verifyhost a.example ca-file {self.folder}/ca.pem {words}\n"
        )
        head = f"global\n crt-base {self.folder}\n ca-base {self.folder}\n"
        self.configuration = read_configuration([Source("t.cfg", head + HEAD + line)], {})
        return self.configuration.backends["b"].servers[0]

    def load(self, words: str, previous: Identities | None = None) -> Identities:
        return run_through(loading(self.server(words), previous, Trusts(), self.faults))

    def choose(self, made: Identities, **headers: str) -> ClientIdentity:
        choose = made.choose()
        assert choose is not None
        return choose(self.facts(**headers))

    def facts(self, **headers: str) -> Any:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        seen = Seen(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        made = Map([("one", b"t/a.pem"), ("late", b"t/late.pem"), ("empty", b"")])
        run_through(made.prepare("str", "str", "the map"))
        seen.maps = {str(self.folder / "m"): made}
        return seen


class FilesTests(IdentitiesTestCase):
    """Which files there are."""

    def test_those_of_a_folder(self) -> None:
        for name in ("t/a.pem", "t/b.pem", "t/.hidden.pem", "t/c.crt", "t/x-d.pem"):
            self.issue(name)
        (self.folder / "t" / "deeper.pem").mkdir()
        made = self.load("crt t/%[req.hdr(x)].pem")
        self.assertEqual([*made.crts], [f"{self.folder}/t/{name}.pem" for name in ("a", "b", "x-d")])
        self.assertEqual([*self.load("crt t/x-%[req.hdr(x)]").crts], [f"{self.folder}/t/x-d.pem"])
        self.assertEqual(self.faults, [])

    def test_those_of_a_map_and_of_a_list(self) -> None:
        for name in ("t/a.pem", "t/b.pem", "t/d.pem", "t/other.pem"):
            self.issue(name)
        self.text("m", "# names", "one t/a.pem", "two t/a.pem")
        self.text("list", "crt t/b.pem pool-min-conn 2")
        made = self.load(f"crt %[req.hdr(x),map({self.folder}/m,t/d.pem)] pool-identities {self.folder}/list")
        self.assertEqual([*made.crts], [f"{self.folder}/t/{name}.pem" for name in ("b", "a", "d")])
        (_, ours) = made.crts[f"{self.folder}/t/b.pem"]
        self.assertEqual(made.listed, [(Name(b"", b"", identity=ClientIdentity(ours)), 2)])
        self.assertEqual(self.faults, [])

    def test_a_key_may_stand_beside(self) -> None:
        credential = self.authority.issue("t", client=True, key="ecdsa")
        (self.folder / "t").mkdir()
        (self.folder / "t/a.crt").write_bytes(credential.certificate_pem)
        (self.folder / "t/a.crt.key").write_bytes(credential.key_pem)
        self.assertEqual([*self.load("crt t/%[req.hdr(x)]").crts], [f"{self.folder}/t/a.crt"])
        self.assertEqual(self.faults, [])

    def test_each_that_cannot_be_used_is_a_fault(self) -> None:
        self.issue("t/a.pem")
        self.text("t/b.pem", "nothing")
        other = self.authority.issue("other", client=True, key="ecdsa")
        mixed = self.authority.issue("mixed", client=True, key="ecdsa")
        (self.folder / "t/c.pem").write_bytes(mixed.certificate_pem + other.key_pem)
        self.text("m", "one t/a.pem", "two t/missing.pem")
        self.load("crt t/%[req.hdr(x)]")
        self.load(f"crt %[req.hdr(x),map({self.folder}/m)]")
        self.assertEqual(len(self.faults), 3, self.faults)
        self.assertIn("t/b.pem: is no PEM file", self.faults[0])
        self.assertIn("t/c.pem: no usable private key: it does not belong", self.faults[1])
        self.assertIn("t/missing.pem: cannot be read: No such file", self.faults[2])

    def test_root_reads_nothing_for_those_who_could_not(self) -> None:
        """Whoever may write a map must be able to read what it names."""
        if os.geteuid() != 0:
            self.skipTest("only root is asked for what others cannot read")
        self.issue("t/a.pem")
        self.text("m", "one t/a.pem")
        os.chown(self.folder / "m", 12345, 12345)
        self.load(f"crt %[req.hdr(x),map({self.folder}/m)]")
        self.assertIn("who can change this file cannot read", self.faults[0])

    def test_ssl_watch_looks_at_all_of_them(self) -> None:
        self.issue("t/a.pem")
        self.text("m", "one t/a.pem")
        self.server(f"crt %[req.hdr(x),map({self.folder}/m)]")
        files = FilesOfTLS(self.configuration)
        before = files.stamps()
        self.assertIn(f"{self.folder}/t/a.pem", [stamp[0] for stamp in before])
        self.issue("t/a.pem")
        self.assertNotEqual(files.stamps(), before)
        before = files.stamps()
        self.text("m", "one t/a.pem", "two t/b.pem")
        self.issue("t/b.pem")
        self.assertIn(f"{self.folder}/t/b.pem", [stamp[0] for stamp in {*files.stamps()} - {*before}])


class ReloadTests(IdentitiesTestCase):
    def test_what_has_not_changed_stays_the_same_identity(self) -> None:
        self.issue("t/a.pem")
        self.issue("t/b.pem")
        words = f"crt t/%[req.hdr(x)].pem ca-file %[req.hdr(x),map({self.folder}/cas)]"
        self.text("cas", "a ca.pem", "b ca2.pem")
        self.authority.write(self.folder / "ca2.pem")
        first = self.load(words)
        before = {name: self.chosen(first, name) for name in "ab"}
        self.issue("t/b.pem")
        os.utime(self.folder / "t/a.pem", (1, 1))  # touched, and otherwise the same
        second = self.load(words, first)
        after = {name: self.chosen(second, name) for name in "ab"}
        self.assertEqual(after["a"], before["a"])
        self.assertNotEqual(after["b"], before["b"])
        self.assertTrue(second.is_current(before["a"]))
        self.assertFalse(second.is_current(before["b"]))
        self.assertTrue(second.is_current(after["b"]))

    def test_another_chain_makes_another_identity(self) -> None:
        """What completes it has come from elsewhere (`issuers-chain-path`): its own file is the same."""
        issued = self.authority.issue("a", client=True, key="ecdsa")
        path = self.folder / "t/a.pem"
        path.parent.mkdir()
        path.write_bytes(issued.certificate.public_bytes(Encoding.PEM) + issued.key_pem)
        server, issuers, made, chains = self.server("crt t/%[req.hdr(x)].pem"), self.folder / "issuers", None, []
        for number in (1, 1, 2):
            issuers.write_bytes(self.authority.certificate_pem * number)
            trusts = Trusts()
            trusts.issuers = run_through(reading_issuers([str(issuers)]))
            made = run_through(loading(server, made, trusts, self.faults))
            chains.append(made.crts[str(path)][1].chain)
        self.assertEqual([each.count(b"BEGIN") for each in chains], [1, 1, 2])

    def chosen(self, made: Identities, name: str) -> ClientIdentity:
        ours = made.crts[f"{self.folder}/t/{name}.pem"][1]
        trusted = made.authorities[f"{self.folder}/{'ca' if name == 'a' else 'ca2'}.pem"][1]
        return ClientIdentity(ours, trusted)

    def test_a_file_that_is_gone_is_no_identity_any_more(self) -> None:
        self.issue("t/a.pem")
        self.issue("t/b.pem")
        first = self.load("crt t/%[req.hdr(x)].pem")
        gone = ClientIdentity(first.crts[f"{self.folder}/t/b.pem"][1])
        (self.folder / "t/b.pem").unlink()
        self.assertFalse(self.load("crt t/%[req.hdr(x)].pem", first).is_current(gone))


class ChoiceTests(IdentitiesTestCase):
    """What a request is given."""

    def test_its_own_identity_or_none(self) -> None:
        """Values that a rule has put into the map since are no files that were read."""
        self.issue("t/a.pem")
        self.text("m", "one t/a.pem")
        made = self.load(f"crt %[req.hdr(x),map({self.folder}/m)] verifyhost %[req.hdr(y)]")
        (_, ours) = made.crts[f"{self.folder}/t/a.pem"]
        self.assertEqual(self.choose(made, x="one", y="B.example:443"), ClientIdentity(ours, None, "b.example"))
        for headers, said in (
            ({}, "finds nothing in this request"),
            ({"x": "two", "y": "b"}, "finds nothing in this request"),
            ({"x": "empty", "y": "b"}, "finds nothing in this request"),
            ({"x": "late", "y": "b"}, "t/late.pem', which is none of the files that were read"),
            ({"x": "one"}, "'verifyhost %[req.hdr(y)]' finds nothing"),
            ({"x": "one", "y": "\u00fc"}, "which is not a host name"),
        ):
            self.assertIn(said, str(self.assertRaises(IdentityRefused, self.choose, made, **headers)), headers)

    def test_no_message_quotes_a_key(self) -> None:
        self.issue("t/a.pem")
        made = self.load("crt t/%[req.hdr(x)].pem verifyhost %[req.hdr(y),hmac(sha256,UzNDUkVUS0VZ),hex]")
        said = str(self.assertRaises(IdentityRefused, self.choose, made, x="a"))
        self.assertIn("'verifyhost %[req.hdr(y),hmac(sha256,…),hex]' finds nothing", said)

    def test_no_request_names_a_file(self) -> None:
        self.issue("t/a.pem")
        self.issue("secret.pem")
        made = self.load("crt t/%[req.hdr(x)].pem")
        self.choose(made, x="a")
        for value in ("../secret", "../t/a", "./a", "a.pem", "a%00", "/a", "A", "..", "*", f"{self.folder}/t/a"):
            self.assertRaises(IdentityRefused, self.choose, made, x=value)


class ContextTests(IdentitiesTestCase):
    def test_a_context_of_another_identity_has_its_files_and_no_session(self) -> None:
        self.issue("t/a.pem")
        made = self.load("crt t/%[req.hdr(x)].pem")
        tls = self.server("crt t/%[req.hdr(x)].pem").tls
        assert tls is not None
        base = ClientContext(tls)
        session: Any = object()
        base.session = session
        context = base.acting_as(ClientIdentity(made.crts[f"{self.folder}/t/a.pem"][1], verified="b.example"))
        self.assertEqual((context.settings.crt, context.session), (f"{self.folder}/t/a.pem", None))
        self.assertEqual((context.name, context.named("sni.example").name), ("b.example", "b.example"))
        assert context.ours is not None
        self.assertIn("t/a.pem", context.ours.subject.rfc4514_string())

    def test_without_an_identity_no_connection_is_made(self) -> None:
        """Whoever would open one by mistake would be nobody, or trust the system's authorities."""
        self.issue("t/a.pem")
        tls = self.server("crt t/%[req.hdr(x)].pem").tls
        assert tls is not None
        self.assertRaises(RuntimeError, ClientContext(tls).connection, None)
