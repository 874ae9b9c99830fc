"""`new|set|add|commit|abort|del ssl …` of certificates, CAs and revocation lists, and `add|del ssl crt-list`: what is
made, replaced and put in use while running, without files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from OpenSSL import crypto

from reusedproxy.build.certificates import serving
from reusedproxy.demo.certificates import Credential
from reusedproxy.net.listener import LISTENING
from reusedproxy.net.slices import run_through
from reusedproxy.net.tls.hello import ClientHello
from reusedproxy.net.tls.server import Certificates
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import BUSY, OPERATOR
from tests.integration.peers import LOOPBACK
from tests.services import HEAD
from tests.test_daemon_certificates import CommittedTestCase
from tests.test_net_tls_server import revocations
from tests.wire import certificates

SUCCESS = "\nSuccess!\n"
LOCKED = "Operations on certificates are currently locked!\n"


class FilesTestCase(CommittedTestCase):
    """A listener with a list, one with a directory that demands certificates of its clients, and a server."""

    def configuration(self) -> str:
        folder = self.folder / "certs"
        folder.mkdir()
        for name in ("a.test", "b.test"):
            self.write(f"certs/{name}", name)
        self.directory = str(folder)
        self.crl_file = self.text("crl.pem", revocations(self.authority).decode())
        self.list = self.text(
            "list", f"# the first one\n{self.crt}\n{self.write('c.test')} [ssl-min-ver TLSv1.3] c.test\n"
        )
        demand = f"verify required ca-file {self.ca_file} crl-file {self.crl_file}"
        return (
            f"global\n ssl-watch 1s\n{HEAD}frontend f\n bind {LOOPBACK}:0 ssl crt-list {self.list}{self.strict}\n"
            f" bind 127.0.0.2:0 ssl crt {self.directory}/ {demand}\n default_backend b\n"
            f"backend b\n server s localhost:1 ssl ca-file {self.ca_file} crt {self.client} sni str(s.test)\n"
            f" http-request deny if {{ req.hdr(k) -f {self.text('bad.lst', 'one')} }}\n"
            f" http-request set-header m %[path,map({self.text('m.map', '/a 1')})]\n"
        )

    strict = ""

    def pem_of(self, *hosts: str) -> str:
        return self.authority.issue(hosts[0], hosts=hosts, key="ecdsa").pem.decode()

    @property
    def listeners(self) -> list[Certificates]:
        ((frontend),) = self.proxy.frontends
        return [each.certificates for each in frontend.listeners if each.certificates is not None]

    def chosen(self, *names: str, listener: int = 0) -> list[str]:
        """The common names of the certificates that clients are shown who ask for these."""
        found = [self.listeners[listener].choose(ClientHello(each)) for each in names]
        return ["" if each is None else each.names[0] for each in found]

    def make(self, name: str, *hosts: str) -> None:
        self.assertEqual(self.tell(f"new ssl cert {name}"), f"New empty certificate store '{name}'!\n")
        self.assertIn("created", self.tell(f"set ssl cert {name}", self.pem_of(*hosts)))
        self.assertEqual(self.tell(f"commit ssl cert {name}"), f"Committing {name}{SUCCESS}")

    def turn(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.assertIn("Success!", self.tell(line))


class ListTests(FilesTestCase):
    def test_a_customers_domain_is_added_live(self) -> None:
        """Nothing is shown before the list has it; clients that ask for another name see what they saw."""
        name, before = str(self.folder / "new.pem"), self.listeners[0].contexts
        self.make(name, "new.test", "www.new.test")
        self.assertIs(self.listeners[0].contexts, before)
        self.assertIn("Status: Unused\n", self.tell(f"show ssl cert {name}"))
        self.assertEqual(self.chosen("new.test"), ["front.pem"])
        said = self.tell(f"add ssl crt-list {self.list} {name}")
        self.assertEqual(said, f"Inserting certificate '{name}' in crt-list '{self.list}'.{SUCCESS}")
        wanted = ["new.test", "new.test", "c.test", "front.pem"]
        self.assertEqual(self.chosen("new.test", "www.new.test", "c.test", "other.test"), wanted)
        self.assertIn("Status: Used\n", self.tell(f"show ssl cert {name}"))
        rows = self.tell(f"show ssl crt-list -n {self.list}").splitlines()
        self.assertEqual(rows[3], f"{name}:4")
        self.assertEqual(Path(self.list).read_text().count("\n"), 3)
        self.assertEqual(
            self.tell(f"del ssl cert {name}"),
            f"Can't remove the certificate: certificate '{name}' in use, can't be deleted!\n\n",
        )

    def test_other_certificates_are_not_loaded_again(self) -> None:
        """So their clients may resume their sessions, and stay."""
        first, second = self.listeners[0].contexts
        self.make("new.pem", "new.test")
        self.turn([f"add ssl crt-list {self.list} new.pem"])
        self.assertEqual([each is first or each is second for each in self.listeners[0].contexts], [True, True, False])
        self.tell(f"set ssl cert {self.folder}/c.test", self.pem_of("c.test"))
        self.turn([f"commit ssl cert {self.folder}/c.test"])
        self.assertIs(self.listeners[0].contexts[0], first)
        self.assertIsNot(self.listeners[0].contexts[1], second)

    def test_a_long_list_is_served_in_many_steps(self) -> None:
        """Of which none is about all of its certificates: what takes a second in all must not hold the event loop."""
        tls = self.proxy.frontends[0].settings.binds[0].tls
        assert tls is not None
        lines = [f"{self.crt} {number}.test\n" for number in range(50)]
        Path(self.list).write_text("".join(lines))
        trusts = Trusts()
        serving_steps = len([*serving(tls, (), trusts)])
        self.assertGreater(serving_steps, 4 * len(lines))
        found = run_through(serving(tls, (), trusts))
        self.assertGreater(len([*serving(tls, [found], Trusts())]), len(lines))

    def test_lists_that_have_not_changed_are_not_parsed_again(self) -> None:
        files = self.proxy.files
        self.make("new.pem", "new.test")
        self.turn([f"add ssl crt-list {self.list} new.pem"])
        self.assertIs(self.proxy.files, files)
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertIsNot(self.proxy.files, files)

    def test_an_answer_that_is_read_late_undoes_nothing_that_was_ordered_since(self) -> None:
        self.make("new.pem", "new.test")
        self.tell(f"set ssl cert {self.crt}", self.pem_of("front.pem"))
        for number, line in enumerate(
            (
                f"add ssl crt-list {self.list} new.pem",
                f"commit ssl cert {self.crt}",
                f"del ssl crt-list {self.list} new.pem",
            )
        ):
            self.context.payload = None
            pieces = iter(run(self.context, line.split()))
            first = next(pieces)
            said = self.tell(f"new ssl cert {number}")
            if "locked" in said:  # until what the other session has ordered is done
                self.reactor.pump([0.5] * 20)
                said = self.tell(f"new ssl cert {number}")
            self.assertIn("New empty", said, line)
            self.assertRegex("".join((first, *pieces)), f"Success!\n$|deleted in crtlist '{self.list}'!\n$", line)
            self.assertIn(f"\n{number}\n", self.tell("show ssl cert"), line)

    def test_a_frontend_that_is_disabled_stays_so(self) -> None:
        """Nobody has asked for a reload, and another program may serve at its port meanwhile."""
        self.make("new.pem", "new.test")
        frontend = self.proxy.frontends[0]
        self.tell(f"disable frontend {frontend.name}")
        self.turn([f"add ssl crt-list {self.list} new.pem"])
        self.assertEqual([text for _, text in self.announced if "forgotten" in text], [])
        successor = self.proxy.frontends[0]
        self.assertIsNot(successor, frontend)
        self.assertTrue(successor.disabled)
        self.assertEqual(self.tell(f"enable frontend {frontend.name}"), "")
        self.assertEqual([each.state for each in successor.listeners], [LISTENING] * len(successor.listeners))
        self.assertEqual(self.chosen("new.test"), ["new.test"])

    def test_what_is_committed_under_its_name_is_shown(self) -> None:
        name = "@mine/x"
        self.make(name, "new.test")
        self.turn([f"add ssl crt-list {self.list} {name}"])
        self.tell(f"set ssl cert {name}", self.pem_of("newer.test"))
        self.assertEqual(self.tell(f"commit ssl cert {name}"), f"Committing {name}.{SUCCESS}")
        self.assertEqual(self.chosen("newer.test", "new.test"), ["newer.test", "front.pem"])

    def test_a_line_with_options_and_a_wildcard(self) -> None:
        self.make("new.pem", "new.test")
        line = f"new.pem [verify optional ca-file {self.ca_file}] *.w.test !no.w.test\n"
        said = self.tell(f"add ssl crt-list {self.list}", line)
        self.assertEqual(said, f"Inserting certificate 'new.pem' in crt-list '{self.list}'.{SUCCESS}")
        self.assertEqual(self.chosen("a.w.test", "no.w.test", "new.test"), ["new.test", "front.pem", "front.pem"])
        context = self.listeners[0].choose(ClientHello("a.w.test"))
        assert context is not None
        self.assertIn(self.ca_file, context.trusted)

    def test_a_deleted_line_is_shown_no_more_and_can_be_added_again(self) -> None:
        name = str(self.folder / "c.test")
        said = self.tell(f"del ssl crt-list {self.list} {name}")
        self.assertEqual(said, f"Entry '{name}' deleted in crtlist '{self.list}'!\n")
        self.assertEqual(self.chosen("c.test"), ["front.pem"])
        self.assertIn("Status: Unused\n", self.tell(f"show ssl cert {name}"))
        self.turn([f"add ssl crt-list {self.list} {name}"])
        self.assertEqual(self.chosen("c.test"), ["c.test"])
        self.tell(f"del ssl crt-list {self.list} {name}")
        self.assertEqual(self.tell(f"del ssl cert {name}"), f"Certificate '{name}' deleted!\n")
        self.assertIn("Not found", self.tell(f"show ssl cert {name}"))
        self.assertTrue(Path(name).exists())

    def test_a_certificate_that_stands_there_twice_needs_its_line(self) -> None:
        name = str(self.folder / "c.test")
        self.turn([f"add ssl crt-list {self.list} {name}"])
        found = f"Can't delete the entry: found the certificate '{name}' in several entries, please specify a"
        said = self.tell(f"del ssl crt-list {self.list} {name}")
        self.assertEqual(said, f"{found} line number preceded by colons (3, 4)!\n")
        self.assertIn("the line number is incorrect", self.tell(f"del ssl crt-list {self.list} {name}:2"))
        self.assertIn("deleted", self.tell(f"del ssl crt-list {self.list} {name}:3"))
        rows = self.tell(f"show ssl crt-list -n {self.list}").splitlines()
        self.assertEqual(rows[1:], [f"{self.crt}:2", f"{name}:4"])

    def test_the_default_certificate_stays(self) -> None:
        said = self.tell(f"del ssl crt-list {self.list} {self.crt}")
        place = self.proxy.frontends[0].settings.binds[0].place
        used = "it is used as default certificate by the following frontends"
        wanted = f"Can't delete the entry: certificate '{self.crt}' cannot be deleted, {used}:\n\t- {place}\n\n"
        self.assertEqual(said, wanted)

    def test_a_directory_takes_certificates_without_options(self) -> None:
        self.make("new.pem", "new.test")
        self.turn([f"add ssl crt-list {self.directory} new.pem"])
        self.assertEqual(self.chosen("new.test", "b.test", listener=1), ["new.test", "b.test"])
        rows = self.tell(f"show ssl crt-list -n {self.directory}/").splitlines()
        wanted = [f"# {self.directory}", f"{self.directory}/a.test:0", f"{self.directory}/b.test:0", "new.pem:1"]
        self.assertEqual(rows, wanted)
        already = "Can't edit the crt-list: file already exists in this directory!\n"
        self.assertEqual(self.tell(f"add ssl crt-list {self.directory} new.pem"), already)
        said = self.tell(f"add ssl crt-list {self.directory}", f"{self.crt} [verify none]\n")
        self.assertIn("this is a directory", said)
        self.assertIn("deleted", self.tell(f"del ssl crt-list {self.directory} {self.directory}/b.test"))
        self.assertEqual(self.chosen("b.test", listener=1), ["a.test"])

    def test_what_cannot_be_added_changes_nothing(self) -> None:
        contexts = self.listeners[0].contexts
        for name in ("empty.pem", "@spiffe"):
            self.tell(f"new ssl cert {name}")
        cannot = "Can't edit the crt-list: "
        for line, payload, wanted in (
            ("no x", None, f"{cannot}crt-list 'no' does not exist!\n"),
            (f"{self.list} x", None, f"{cannot}certificate 'x' does not exist!\n"),
            (f"{self.list} @spiffe", None, f"{cannot}certificate '@spiffe' does not exist!\n"),
            (f"{self.list} empty.pem", None, f"{cannot}certificate 'empty.pem' is empty!\n"),
            (self.list, f"{self.crt}\n{self.crt}\n", f"{cannot}only one line of payload is supported!\n"),
            (self.list, f"{self.crt} [ca-file /no]\n", f"{cannot}'ca-file' : unable to load /no\n"),
            (self.list, None, "'add ssl crtlist' expects a filename and a certificate name\n"),
        ):
            self.assertEqual(self.tell(f"add ssl crt-list {line}", payload), wanted)
        self.assertIn("parsing [CLI:1]: ", self.tell(f"add ssl crt-list {self.list}", f"{self.crt} [verfy none]\n"))
        said = self.tell(f"add ssl crt-list {self.list}", f"{self.crt} [ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.2]\n")
        self.assertEqual(said.splitlines()[-1], "Failed!")
        self.assertIs(self.listeners[0].contexts, contexts)
        self.assertEqual(self.tell(f"show ssl crt-list {self.list}").count("\n"), 3)


class StrictTests(FilesTestCase):
    strict = " strict-sni"

    def test_a_list_may_become_empty(self) -> None:
        """And serves again what is added."""
        for name in (self.crt, str(self.folder / "c.test")):
            self.assertIn("deleted", self.tell(f"del ssl crt-list {self.list} {name}"))
        self.assertEqual(self.chosen("front.pem", "c.test"), ["", ""])
        self.assertEqual(self.tell(f"show ssl crt-list {self.list}"), f"# {self.list}\n")
        self.turn([f"add ssl crt-list {self.list} {self.crt}"])
        self.assertEqual(self.chosen("front.pem"), ["front.pem"])


class ForgettingTests(FilesTestCase):
    """What becomes of what was ordered."""

    def setUp(self) -> None:
        super().setUp()
        self.make("new.pem", "new.test")
        self.turn([f"add ssl crt-list {self.list} new.pem", f"add ssl crt-list {self.directory} new.pem"])

    def test_a_reload_reads_the_files_again(self) -> None:
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertEqual(self.chosen("new.test") + self.chosen("new.test", listener=1), ["front.pem", "a.test"])
        self.assertIn("Not found", self.tell("show ssl cert new.pem"))
        self.assertTrue(self.said_of(self.directory, self.list, "new.pem"))

    def said_of(self, *names: str) -> bool:
        """Whether the log has said that what was in memory for these is forgotten."""
        text = f"what the runtime API has put in memory for {', '.join(names)} is forgotten; the files count"
        return ("warning", text) in self.announced

    def test_changes_of_lists_and_maps_that_a_reload_forgets_are_told(self) -> None:
        """A ban that was ordered is gone."""
        bad, numbers = str(self.folder / "bad.lst"), str(self.folder / "m.map")
        self.tell(f"add acl {bad} two")
        self.tell(f"set map {numbers} /a 2")
        text = f"what the runtime API has changed in {bad}, {numbers} is forgotten; the files count"
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertIn(("warning", text), self.announced)
        self.announced.clear()
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertEqual([said for _, said in self.announced if "forgotten" in said], [])

    def test_other_orders_that_a_reload_forgets_are_told(self) -> None:
        """By which a limit, or a closed port, is gone. What says nothing else than the file is none."""
        name = self.service.proxy.frontends[0].name  # type: ignore[union-attr]
        self.tell("set rate-limit connections global 0")
        self.tell("set rate-limit ssl-sessions global 9")
        self.tell(f"disable frontend {name}")
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        forgotten = [(level, said) for level, said in self.announced if said.endswith(("forgotten", "counts"))]
        self.assertEqual(
            forgotten,
            [
                ("warning", "what 'set rate-limit' has set in place of maxsslrate is forgotten; the file counts"),
                ("warning", f"the order by which frontend {name} accepts nobody is forgotten"),
            ],
        )

    def test_other_files_that_change_leave_it(self) -> None:
        """Also a certificate of the directory."""
        self.write("certs/b.test", "b2.test")
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.chosen("new.test", "b2.test", listener=1), ["new.test", "b2.test"])
        self.assertEqual(self.chosen("new.test"), ["new.test"])

    def test_a_list_that_changes_counts_again(self) -> None:
        self.text("list", f"{self.crt}\n")
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.chosen("new.test", "c.test"), ["front.pem", "front.pem"])
        self.assertEqual(self.chosen("new.test", listener=1), ["new.test"])
        self.assertTrue(self.said_of(self.list))

    def test_a_directory_with_another_file_counts_again(self) -> None:
        self.write("certs/d.test", "d.test")
        self.reactor.pump([1.0] * 10)
        self.assertEqual(self.chosen("new.test", "d.test", listener=1), ["a.test", "d.test"])
        self.assertEqual(self.chosen("new.test"), ["new.test"])


class AuthorityTests(FilesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stranger = certificates().stranger.certificate_pem.decode()

    def trusted(self) -> list[str]:
        """The CAs of clients, and those of the server, in words."""
        context = self.proxy.lines["b/s"].pool.context
        assert context is not None
        return [self.listeners[1].contexts[0].trusted, context._trusted.words]

    def test_clients_and_servers_are_verified_by_what_was_committed(self) -> None:
        """The server's connections are made anew, by a pool of its own."""
        pool, admission = self.proxy.lines["b/s"].pool, self.listeners[1].contexts[0].admission
        said = self.tell(f"set ssl ca-file {self.ca_file}", self.stranger)
        self.assertEqual(said, f"transaction created for CA {self.ca_file}!\n")
        self.assertEqual(self.tell(f"commit ssl ca-file {self.ca_file}"), f"Committing {self.ca_file}...{SUCCESS}")
        for words in self.trusted():
            self.assertIn(f"{self.ca_file} (CN=unknown CA)", words)
        self.assertIsNot(self.proxy.lines["b/s"].pool, pool)
        self.assertNotEqual(self.listeners[1].contexts[0].admission, admission)
        rows = self.tell(f"show ssl ca-file {self.ca_file}").splitlines()
        self.assertEqual((rows[1], rows[-1]), ("Status: Used", "Issuer: /CN=unknown CA"))

    def test_a_listener_without_it_and_a_pool_of_another_go_on(self) -> None:
        self.tell("new ssl ca-file mine")
        contexts, pool = self.listeners[1].contexts, self.proxy.lines["b/s"].pool
        self.tell("set ssl ca-file mine", self.stranger)
        self.assertEqual(self.tell("commit ssl ca-file mine"), f"Committing mine{SUCCESS}")
        line = f"{self.crt} [verify required ca-file mine] mine.test\n"
        self.assertIn("Success!", self.tell(f"add ssl crt-list {self.list}", line))
        self.assertIs(self.listeners[1].contexts, contexts)
        self.assertIs(self.proxy.lines["b/s"].pool, pool)
        context = self.listeners[0].choose(ClientHello("mine.test"))
        assert context is not None
        self.assertIn("CN=unknown CA", context.trusted)

    def test_authorities_are_added_to_those_before(self) -> None:
        """And each counts once."""
        for _ in range(2):
            self.assertIn("transaction", self.tell(f"add ssl ca-file {self.ca_file}", self.stranger))
        shown = self.tell("show ssl ca-file").splitlines()
        self.assertEqual(
            shown,
            [
                *("# transaction", f"*{self.ca_file} - 2 certificate(s)"),
                *("# filename", f"{self.ca_file} - 1 certificate(s)"),
            ],
        )
        self.assertIn("Status: Uncommitted\n", self.tell(f"show ssl ca-file *{self.ca_file}"))
        self.turn([f"commit ssl ca-file {self.ca_file}"])
        self.assertIn("(CN=test CA / CN=unknown CA)", self.trusted()[0])

    def test_what_can_be_trusted_by_nobody_is_refused(self) -> None:
        said = f"Invalid payload\nCan't update {self.ca_file}!\n"
        self.assertEqual(self.tell(f"set ssl ca-file {self.ca_file}", "nothing\n"), said)
        unknown = "Can't replace a CA file which is not referenced by the configuration!\nCan't update /no!\n"
        self.assertEqual(self.tell("set ssl ca-file /no", self.stranger), unknown)
        self.assertEqual(self.tell(f"commit ssl ca-file {self.ca_file}").splitlines()[0], "No ongoing transaction! !")
        self.tell(f"set ssl ca-file {self.ca_file}", self.stranger)
        said = self.tell(f"abort ssl ca-file {self.ca_file}")
        self.assertEqual(said, f"Transaction aborted for certificate '{self.ca_file}'!\n")
        self.assertIn("CN=test CA", self.trusted()[0])

    def test_a_file_that_changes_counts_again(self) -> None:
        self.tell(f"set ssl ca-file {self.ca_file}", self.stranger)
        self.turn([f"commit ssl ca-file {self.ca_file}"])
        self.text("ca.pem", self.authority.certificate_pem.decode() + self.stranger)
        self.reactor.pump([1.0] * 10)
        self.assertIn("(CN=test CA / CN=unknown CA)", self.trusted()[0])

    def test_files_are_deleted_that_nobody_uses(self) -> None:
        failed = "Can't remove the CA file: CA file"
        used = f"{failed} '{self.ca_file}' in use, can't be deleted!\n\n"
        self.assertEqual(self.tell(f"del ssl ca-file {self.ca_file}"), used)
        self.assertEqual(self.tell("del ssl ca-file no"), f"{failed} 'no' doesn't exist!\n\n")
        self.assertEqual(self.tell("new ssl ca-file mine"), "New CA file created 'mine'!\n")
        self.assertEqual(self.tell("new ssl ca-file mine"), "CA file 'mine' already exists!\n")
        self.assertIn("Status: Empty\n", self.tell("show ssl ca-file mine"))
        self.tell("set ssl ca-file mine", self.stranger)
        said = "Can't remove the CA file: ongoing transaction for the CA file 'mine'\n"
        self.assertEqual(self.tell("del ssl ca-file mine"), said)
        self.tell("abort ssl ca-file mine")
        self.assertEqual(self.tell("del ssl ca-file mine"), "CA file 'mine' deleted!\n")
        self.assertNotIn("mine", self.tell("show ssl ca-file"))


class IdentityTests(CommittedTestCase):
    """Files among which requests choose are known, and replaced, like others."""

    def configuration(self) -> str:
        (self.folder / "t").mkdir()
        self.tenants = [self.write(f"t/{name}.pem", client=True) for name in "ab"]
        self.text("cas", f"a {self.ca_file}\n")
        chosen = f"crt {self.folder}/t/%[req.hdr(x)].pem ca-file %[req.hdr(x),map({self.folder}/cas)]"
        return (
            f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\n"
            f"backend b\n server s localhost:1 ssl verifyhost s.test {chosen}\n"
        )

    def test_one_is_replaced_and_the_pool_goes_on(self) -> None:
        line, stranger = self.proxy.lines["b/s"], certificates().stranger.certificate_pem.decode()
        assert line.identities is not None
        before, pool = line.identities.crts, line.pool
        self.assertEqual(self.tell("show ssl cert"), "# filename\n" + "".join(f"{each}\n" for each in self.tenants))
        self.assertIn("in use", self.tell(f"del ssl cert {self.tenants[0]}"))
        self.assertIn(".\nSuccess!", self.replace(self.tenants[0], self.pem("new", client=True)))
        self.tell(f"set ssl ca-file {self.ca_file}", stranger)
        self.assertIn(".\nSuccess!", self.tell(f"commit ssl ca-file {self.ca_file}"))
        line = self.proxy.lines["b/s"]
        assert line.identities is not None
        self.assertIs(line.pool, pool)
        after = line.identities.crts
        self.assertEqual([after[each][1] is before[each][1] for each in self.tenants], [False, True])
        self.assertIn("CN=unknown CA", line.identities.authorities[self.ca_file][1].words)


class RevocationTests(FilesTestCase):
    def verify(self, credential: Credential) -> None:
        """What OpenSSL says of a client's certificate. Raises X509StoreContextError."""
        context = self.listeners[1].contexts[0]
        store = context._context.get_cert_store()
        assert store is not None
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(credential.certificate)).verify_certificate()

    def test_a_list_is_replaced(self) -> None:
        gone = self.authority.issue("gone", client=True, key="ecdsa")
        self.verify(gone)
        said = self.tell(f"set ssl crl-file {self.crl_file}", revocations(self.authority, gone).decode())
        self.assertEqual(said, f"transaction created for CRL {self.crl_file}!\n")
        self.assertEqual(self.tell("show ssl crl-file").splitlines()[:2], ["# transaction", f"*{self.crl_file}"])
        admission = self.listeners[1].contexts[0].admission
        said = self.tell(f"commit ssl crl-file {self.crl_file}")
        self.assertEqual(said, f"Committing {self.crl_file}..{SUCCESS}")
        error = self.assertRaises(crypto.X509StoreContextError, self.verify, gone)
        self.assertIn("revoked", str(error))
        self.assertIn("Serial Number", self.tell(f"show ssl crl-file {self.crl_file}"))
        self.assertNotEqual(self.listeners[1].contexts[0].admission, admission)

    def test_what_is_no_list_is_refused(self) -> None:
        pem = self.authority.certificate_pem.decode()
        said = f"Invalid payload\nCan't update {self.crl_file}!\n"
        self.assertEqual(self.tell(f"set ssl crl-file {self.crl_file}", pem), said)


class TransactionTests(FilesTestCase):
    def test_each_kind_has_one(self) -> None:
        """So a certificate and the CA that it needs can be set before either is committed."""
        self.tell(f"set ssl ca-file {self.ca_file}", self.authority.certificate_pem.decode())
        self.tell(f"set ssl cert {self.crt}", self.pem_of("new.test"))
        self.turn([f"commit ssl cert {self.crt}", f"commit ssl ca-file {self.ca_file}"])

    def test_others_wait_while_one_is_committed(self) -> None:
        self.tell(f"set ssl cert {self.client}", self.pem("new", client=True))
        pieces = iter(run(self.context, ["commit", "ssl", "cert", self.client]))
        self.assertEqual([next(pieces), next(pieces)], [f"Committing {self.client}", BUSY])
        for line in (
            *(f"new ssl {word} x" for word in ("cert", "ca-file", "crl-file")),
            *(
                f"del ssl cert {self.crt}",
                f"del ssl crt-list {self.list} {self.crt}",
                f"add ssl crt-list {self.list} x",
            ),
            *(f"set ssl ca-file {self.ca_file}", f"set ssl crl-file {self.crl_file}"),
        ):
            self.assertIn(LOCKED, self.tell(line, None if "crt-list" in line else "x"), line)
        self.reactor.pump([0.5] * 20)
        self.assertEqual([*pieces], [f".{SUCCESS}"])

    def test_what_there_is_to_be_noted_is_answered(self) -> None:
        """As in HAProxy before the last line."""
        tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
        pem = self.authority.issue("front.pem", key="ecdsa", not_before=tomorrow).pem.decode()
        self.tell(f"set ssl cert {self.crt}", pem)
        lines = self.tell(f"commit ssl cert {self.crt}").splitlines()
        self.assertIn(f"crt {self.crt}: is not valid yet", lines[1])
        self.assertEqual((lines[0], lines[2:]), (f"Committing {self.crt}.", ["Success!"]))

    def test_a_name_is_made_once(self) -> None:
        self.assertEqual(self.tell(f"new ssl cert {self.crt}"), f"Certificate '{self.crt}' already exists!\n")
        self.tell("new ssl cert x")
        self.assertEqual(self.tell("new ssl cert x"), "Certificate 'x' already exists!\n")
        self.assertIn("Status: Empty\n", self.tell("show ssl cert x"))
        self.assertEqual(self.tell("commit ssl cert x").splitlines()[0], "No ongoing transaction! !")
        self.tell("set ssl cert x", self.authority.certificate_pem.decode())
        self.assertIn("private key", self.tell("commit ssl cert x"))

    def test_levels(self) -> None:
        self.context.level = OPERATOR
        for order in ("new", "add", "del", "set", "commit", "abort"):
            for kind in ("cert", "ca-file", "crl-file", "crt-list"):
                said = self.tell(f"{order} ssl {kind} x", "x")
                self.assertTrue(said.startswith(("Permission denied", "Unknown command")), (order, kind, said))
