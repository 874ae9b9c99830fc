"""`set|commit|abort ssl cert`: certificates that are replaced while running, without their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding

from reusedproxy.config.model.tls import StoredCertificate
from reusedproxy.demo.certificates import Authority
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import BUSY, OPERATOR, USER
from reusedproxy.operators.view.certificates import certificates_in_use
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, OrdersTestCase


class CommittedTestCase(OrdersTestCase):
    """The whole service on a clock. The server is not there: its new pool is not waited for, once that is known."""

    def setUp(self) -> None:
        super().setUp()
        self.crt, self.client = self.write("front.pem"), self.write("client.pem", client=True)
        made = self.authority.issue("stored", key="ecdsa")
        (self.folder / "stored.crt").write_bytes(made.certificate_pem)
        (self.folder / "stored.key").write_bytes(made.key_pem)
        self.ca_file = str(self.authority.write(self.folder / "ca.pem"))
        self.config = self.text("proxy.cfg", self.configuration())
        self.start_with(self.config)

    def configuration(self) -> str:
        return (
            f"global\n ssl-watch 1s\ncrt-store web\n crt-base {self.folder}\n key-base {self.folder}\n"
            " load crt stored.crt key stored.key alias x"
            f"\n{HEAD}frontend f\n bind {LOOPBACK}:0 ssl crt {self.crt} crt @web/x\n default_backend b\n"
            f"backend b\n server s localhost:1 ssl ca-file {self.ca_file} crt {self.client} sni str(s.test)\n"
        )

    def pem(self, name: str, client: bool = False) -> str:
        return Path(self.write("set.pem", name, client)).read_text()

    def replace(self, name: str, payload: str) -> str:
        self.assertIn("Transaction", self.tell(f"set ssl cert {name}", payload))
        return self.tell(f"commit ssl cert {name}")

    def shown(self) -> list[str]:
        """The common names that clients are shown, and the number of the server's context and its certificate."""
        ((frontend),) = self.proxy.frontends
        (listener,) = frontend.listeners
        assert listener.certificates is not None
        context = self.proxy.lines["b/s"].pool.context
        assert context is not None and context.ours is not None
        names = [each.names[0] for each in listener.certificates.contexts]
        return [*names, f"{context.generation} {context.ours.subject.rfc4514_string()}"]

    before: Sequence[str] = ("front.pem", "stored", "1 CN=client.pem")


class CommitTests(CommittedTestCase):
    def test_a_listener_shows_what_was_committed_and_its_file_stays(self) -> None:
        content = Path(self.crt).read_bytes()
        self.assertEqual(
            self.tell(f"set ssl cert {self.crt}", self.pem("new")), f"Transaction created for certificate {self.crt}!\n"
        )
        self.assertEqual(self.shown(), [*self.before])
        self.assertEqual(self.tell(f"commit ssl cert {self.crt}"), f"Committing {self.crt}.\nSuccess!\n")
        self.assertEqual(self.shown(), ["new", *self.before[1:]])
        self.assertIn("Subject: /CN=new\n", self.tell(f"show ssl cert {self.crt}"))
        self.assertEqual(Path(self.crt).read_bytes(), content)
        self.assertEqual(self.tell(f"commit ssl cert {self.crt}").splitlines()[0], "No ongoing transaction! !")

    def test_a_certificate_of_a_store_is_known_by_its_alias(self) -> None:
        self.assertEqual(self.replace("@web/x", self.pem("new")), "Committing @web/x.\nSuccess!\n")
        self.assertEqual(self.shown(), ["front.pem", "new", "1 CN=client.pem"])

    def test_a_server_is_shown_it_on_new_connections(self) -> None:
        """By a pool of its own, in whose place the old one's connections go."""
        old = self.proxy.lines["b/s"].pool
        self.assertEqual(self.replace(self.client, self.pem("new", client=True)).splitlines()[1], "Success!")
        self.assertEqual(self.shown(), [*self.before[:2], "2 CN=new"])
        self.assertIsNot(self.proxy.lines["b/s"].pool, old)

    def test_several_are_kept_beside_each_other(self) -> None:
        """And a pool whose certificate has not changed goes on."""
        self.replace(self.client, self.pem("a", client=True))
        pool = self.proxy.lines["b/s"].pool
        self.replace(self.crt, self.pem("b"))
        self.assertEqual(self.shown(), ["b", "stored", "2 CN=a"])
        self.assertIs(self.proxy.lines["b/s"].pool, pool)

    def test_a_key_alone_is_set_behind_its_name(self) -> None:
        made = self.authority.issue("new", key="ecdsa")
        self.tell(f"set ssl cert {self.crt}.key", made.key_pem.decode())
        self.assertIn("inconsistencies between private key", self.tell(f"commit ssl cert {self.crt}"))
        said = self.tell(f"set ssl cert {self.crt}", made.certificate_pem.decode())
        self.assertEqual(said, f"Transaction updated for certificate {self.crt}!\n")
        said = self.tell(f"commit ssl cert {self.crt}")
        self.assertEqual(said.splitlines()[0], "The transaction must contain at least a certificate and a private key!")
        self.tell(f"set ssl cert {self.crt}.key", made.key_pem.decode())
        self.assertIn("Success!", self.tell(f"commit ssl cert {self.crt}"))
        self.assertEqual(self.shown()[0], "new")

    def test_a_key_of_another_certificate_changes_nothing(self) -> None:
        """And the transaction goes on, as it was."""
        one, other = self.authority.issue("one", key="ecdsa"), self.authority.issue("other", key="ecdsa")
        self.tell(f"set ssl cert {self.crt}", (one.certificate_pem + other.key_pem).decode())
        said = f"inconsistencies between private key and certificate loaded '{self.crt}'.\nCan't commit {self.crt}!\n"
        self.assertEqual(self.tell(f"commit ssl cert {self.crt}"), said)
        self.assertEqual(self.shown(), [*self.before])
        self.assertEqual(self.tell("show ssl cert").splitlines()[:2], ["# transaction", f"*{self.crt}"])

    def test_what_cannot_be_used_changes_nothing(self) -> None:
        """Here, as another file of the configuration is of no use by then. That is told, and the transaction can be
        committed again."""
        stored = self.folder / "stored.crt"
        content = stored.read_bytes()
        stored.write_text("nothing")
        said = self.replace(self.crt, self.pem("new"))
        self.assertEqual(said.splitlines()[0], f"Committing {self.crt}")
        self.assertIn("stored.crt: is no PEM file", said)
        self.assertEqual(said.splitlines()[-1], "Failed!")
        self.assertEqual(self.shown(), [*self.before])
        stored.write_bytes(content)
        self.assertIn("Success!", self.tell(f"commit ssl cert {self.crt}"))
        self.assertEqual((self.shown()[0], self.service.transactions), ("new", {}))

    def test_one_commit_or_reload_at_a_time(self) -> None:
        self.tell(f"set ssl cert {self.client}", self.pem("new", client=True))
        pieces = iter(run(self.context, ["commit", "ssl", "cert", self.client]))
        self.assertEqual([next(pieces), next(pieces)], [f"Committing {self.client}", BUSY])
        locked = "Operations on certificates are currently locked!"
        for line in (f"commit ssl cert {self.client}", f"abort ssl cert {self.client}", f"set ssl cert {self.client}"):
            self.assertIn(locked, self.tell(line, self.pem("x")))
        self.reactor.pump([0.5] * 20)
        self.assertEqual([*pieces], [".\nSuccess!\n"])

    def test_a_session_that_does_not_wait_changes_nothing(self) -> None:
        self.tell(f"set ssl cert {self.client}", self.pem("new", client=True))
        pieces = iter(run(self.context, ["commit", "ssl", "cert", self.client]))
        self.assertEqual([next(pieces), next(pieces)], [f"Committing {self.client}", BUSY])
        pieces.close()  # type: ignore[attr-defined]
        self.reactor.pump([0.5] * 20)
        self.assertEqual((self.shown()[2], self.service.transactions), ("2 CN=new", {}))


class ForgettingTests(CommittedTestCase):
    """What becomes of what was committed."""

    def test_a_reload_reads_the_file_again(self) -> None:
        self.replace(self.crt, self.pem("new"))
        self.replace(self.client, self.pem("new", client=True))
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertEqual(self.shown(), [*self.before[:2], "3 CN=client.pem"])

    def test_a_reload_ends_the_transaction(self) -> None:
        self.tell(f"set ssl cert {self.crt}", self.pem("new"))
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertEqual(self.tell(f"abort ssl cert {self.crt}"), "No ongoing transaction!\n")

    def test_other_files_that_change_leave_it(self) -> None:
        """`ssl-watch` takes them up; the file that it stands for takes its place again."""
        self.replace(self.crt, self.pem("new"))
        self.write("client.pem", "other", client=True)
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.shown(), ["new", "stored", "2 CN=other"])
        self.write("front.pem", "newer")
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.shown()[0], "newer")


class IssuersTests(CommittedTestCase):
    """The directory of what completes chains (`issuers-chain-path`): that of the listener's certificate; the server's
    file has its own."""

    def configuration(self) -> str:
        self.middle = Authority("middle", issuer=self.authority)
        issued = self.middle.issue("alone", key="ecdsa")
        Path(self.crt).write_bytes(issued.certificate.public_bytes(Encoding.PEM) + issued.key_pem)
        self.middle.issue("client", client=True, key="ecdsa").write(Path(self.client))
        (self.folder / "issuers").mkdir()
        self.issuer = Path(self.text("issuers/middle", self.middle.certificate_pem.decode()))
        self.text("issuers/junk", "junk")
        return super().configuration().replace("global\n", f"global\n issuers-chain-path {self.folder}/issuers\n")

    def chain(self) -> int:
        """How many certificates complete the listener's."""
        return self.proxy.trusts._certificates[self.crt, None].chain.count(b"BEGIN")

    def reload(self) -> None:
        self.service.reload()
        self.reactor.pump([0.5] * 20)

    def told_of(self, level: str, words: str) -> int:
        return sum(each == level and words in text for each, text in self.announced)

    def test_a_file_that_breaks_while_it_is_used_changes_nothing(self) -> None:
        """As other files of TLS; neither when `ssl-watch` looks, nor by a reload that an operator orders."""
        before, whole = self.proxy, self.issuer.read_text()
        self.issuer.write_text(whole[: len(whole) // 2])
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.told_of("alert", f"{self.issuer}: is cut off"), 1)
        self.reload()
        self.assertEqual(self.told_of("alert", f"{self.issuer}: is cut off"), 2)
        self.assertEqual((self.proxy, self.chain()), (before, 1))
        self.issuer.write_text(whole + self.authority.certificate_pem.decode())
        self.reactor.pump([1.0] * 10)
        self.assertEqual((self.proxy is before, self.chain()), (False, 2))

    def test_a_file_that_is_gone_completes_nothing_any_more(self) -> None:
        self.issuer.unlink()
        self.reload()
        self.assertEqual((self.chain(), self.told_of("notice", "configuration reloaded")), (0, 1))

    def test_a_new_file_that_cannot_be_used_is_told_once(self) -> None:
        """Those that were told of at the start are not, until an operator orders a reload."""
        self.text("issuers/more", "junk, too")
        self.reactor.pump([1.0] * 10)
        self.text("issuers/root", self.authority.certificate_pem.decode())
        self.reactor.pump([1.0] * 10)
        self.assertEqual([self.told_of("warning", f"issuers/{each}: ") for each in ("more", "junk")], [1, 0])
        self.assertEqual(self.told_of("notice", "files of TLS"), 2)
        self.reload()
        self.assertEqual([self.told_of("warning", f"issuers/{each}: ") for each in ("more", "junk")], [2, 1])
        self.assertEqual(self.chain(), 1)

    def test_a_directory_that_cannot_be_read_refuses_a_reload(self) -> None:
        """The daemon's user may read less than root did at the start."""
        before = self.proxy
        with mock.patch("reusedproxy.build.issuers.names_in", side_effect=PermissionError(13, "Permission denied")):
            self.reload()
        self.assertEqual((self.proxy, self.chain()), (before, 1))
        self.assertEqual(self.told_of("alert", f"{self.folder}/issuers: cannot be read: Permission denied"), 1)

    def test_a_file_that_completes_nothing_ends_no_connection(self) -> None:
        """Nor does one that completes what others show."""
        context, shown = self.proxy.lines["b/s"].pool.context, self.shown()
        for word in ("other", "middle"):
            self.text(f"issuers/{word}", self.authority.certificate_pem.decode())
            self.reload()
            self.assertIs(self.proxy.lines["b/s"].pool.context, context)
        self.assertEqual((self.shown(), self.chain()), (shown, 0))


class AnswerTests(CommittedTestCase):
    def test_what_is_in_use(self) -> None:
        listed = f"# filename\n{self.client}\n{self.crt}\n@web/x\n"
        self.assertEqual(self.tell("show ssl cert"), listed)
        lines = self.tell("show ssl cert @web/x").splitlines()
        self.assertEqual(lines[:2], ["Filename: @web/x", "Status: Used"])
        self.assertIn("Subject: /CN=stored", lines)
        self.assertEqual(lines[-1], "OCSP Response Key: ")
        self.assertIn("Not found", self.tell("show ssl cert /no"))
        self.assertIn("Not found", self.tell(f"show ssl cert *{self.crt}"))

    def test_a_chain_is_shown(self) -> None:
        pem = self.pem("new") + self.authority.certificate_pem.decode()
        self.tell(f"set ssl cert {self.crt}", pem)
        lines = self.tell(f"show ssl cert *{self.crt}").splitlines()
        self.assertEqual(lines[:2], [f"Filename: *{self.crt}", "Status: Uncommitted"])
        self.assertEqual([each.partition(":")[0] for each in lines[-3:-1]], ["Chain Subject", "Chain Issuer"])

    def test_lines_that_show_one_are_counted(self) -> None:
        stored = StoredCertificate("@a/b", self.crt)
        found = certificates_in_use(self.proxy, [stored])
        self.assertEqual(
            {name: each.uses for name, each in found.items()},
            {"@a/b": 1, self.client: 1, f"{self.folder}/stored.crt": 1},
        )

    def test_the_lines_of_a_list(self) -> None:
        """As they were read last, in HAProxy's order of options; a certificate of a store by its alias."""
        ca = self.folder / "ca.pem"
        path = self.text(
            "list", f"# one\n{self.crt} [ssl-min-ver TLSv1.2 ca-file {ca} verify optional no-alpn] a !b\n\n@web/x\n"
        )
        text = Path(self.config).read_text()
        Path(self.config).write_text(text.replace(f"ssl crt {self.crt} crt @web/x", f"ssl crt-list {path}"))
        self.assertEqual(self.tell("show ssl crt-list"), "")
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        Path(path).unlink()
        options = f"[no-alpn verify optional ca-file {ca} ssl-min-ver TLSv1.2]"
        self.assertEqual(self.tell("show ssl crt-list"), f"{path}\n")
        self.assertEqual(self.tell(f"show ssl crt-list {path}"), f"# {path}\n{self.crt} {options} a !b\n@web/x\n")
        numbered = f"# {path}\n{self.crt}:2 {options} a !b\n@web/x:4\n"
        self.assertEqual(self.tell(f"show ssl crt-list -n {path}"), numbered)
        self.assertEqual(self.tell("show ssl crt-list no"), "didn't find the specified filename\n")
        expects = "'show ssl crt-list -n' expects a filename or a directory\n"
        self.assertEqual(self.tell("show ssl crt-list -n"), expects)
        self.context.level = OPERATOR
        self.assertEqual(self.tell("show ssl crt-list"), "Permission denied\n")

    def test_refusals(self) -> None:
        expects = "'set ssl cert' expects a filename and a certificate as a payload\n"
        self.assertEqual(self.tell("set ssl cert"), expects)
        self.assertEqual(self.tell(f"set ssl cert {self.crt}"), expects)
        unloaded = (
            f"unable to load certificate from file '{self.crt}'.\nCan't load the payload\nCan't update {self.crt}!\n"
        )
        self.assertEqual(self.tell(f"set ssl cert {self.crt}", "nothing\n"), unloaded)
        self.assertIn("unable to load private key", self.tell(f"set ssl cert {self.crt}.key", "nothing\n"))
        self.assertIn("not referenced by the configuration", self.tell("set ssl cert /no", self.pem("new")))
        self.assertIn("No OCSP responses", self.tell(f"set ssl cert {self.crt}.ocsp", "x"))
        self.assertEqual(self.service.transactions, {})
        self.tell(f"set ssl cert {self.crt}", self.pem("new"))
        about = f"The ongoing transaction is about '{self.crt}' but you are trying to"
        self.assertIn(f"{about} set '@web/x'", self.tell("set ssl cert @web/x", self.pem("new")))
        self.assertIn(f"{about} set '@web/x'", self.tell("commit ssl cert @web/x"))
        self.assertIn(f"{about} abort a transaction for '@web/x'", self.tell("abort ssl cert @web/x"))
        said = f"Transaction aborted for certificate '{self.crt}'!\n"
        self.assertEqual(self.tell(f"abort ssl cert {self.crt}"), said)
        self.assertEqual(self.service.transactions, {})

    def test_levels(self) -> None:
        self.context.level = OPERATOR
        self.assertIn("# filename", self.tell("show ssl cert"))
        for word in ("set", "commit", "abort"):
            self.assertEqual(self.tell(f"{word} ssl cert {self.crt}", ""), "Permission denied\n")
        self.context.level = USER
        self.assertEqual(self.tell("show ssl cert"), "Permission denied\n")
