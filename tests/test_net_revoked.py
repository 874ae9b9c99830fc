"""Files of revoked certificates as OpenSSL takes them: their spans, what is sorted ahead, and what a thread does."""

from __future__ import annotations

from binascii import b2a_base64
from datetime import datetime, timezone
from queue import SimpleQueue
from threading import Thread, current_thread
from types import SimpleNamespace
from typing import Any, BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from reusedproxy.net.files import open_bounded
from reusedproxy.net.slices import Slices
from reusedproxy.net.threads import Worker
from reusedproxy.net.tls import crl_files, revoked
from reusedproxy.net.tls.crl import BEGINS
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.net.tls.revoked import SMALL, ListUnreadable, read_lists
from reusedproxy.net.tls.trusts import Trust, Trusted, Trusts
from tests.test_net_revocations import list_of
from tests.wire import scratch

HEADER = b"-----BEGIN X509 CRL-----\n"


def large(authority: Authority, *numbers: int) -> bytes:
    """A list in PEM that is not read in the event loop."""
    filling = range(10**40, 10**40 + SMALL // 36)
    return list_of(authority, *numbers, *filling).public_bytes(Encoding.PEM)


class Reactor:
    """Calls what threads hand over in the thread of the test, and tells the time."""

    def __init__(self) -> None:
        self.handed: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        self.handed.put((call, arguments))

    def seconds(self) -> float:
        return 0.0

    def run(self, until: list[Any]) -> None:
        while not until:
            call, arguments = self.handed.get(timeout=30)
            call(*arguments)


class WholeTests(SynchronousTestCase):
    """No list of a file is passed over: the certificates that it revokes would be let in."""

    def test_what_openssl_does_not_read_to_its_end_is_refused(self) -> None:
        """As HAProxy refuses it, which has OpenSSL read the file."""
        authority = Authority("a CA")
        one, two = (list_of(authority, number).public_bytes(Encoding.PEM) for number in (1, 2))
        own = authority.credential.certificate_pem
        as_certificate = two.replace(b"X509 CRL", b"CERTIFICATE")
        for what, more, is_whole in (
            ("another list", two, True),
            ("a certificate", own, True),
            ("one that says what it is trusted for", own.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), True),
            ("text", b"-----BEGIN\n-----END X-----\n", True),
            ("ends of lines as in Windows", two.replace(b"\n", b"\r\n"), True),
            ("no line behind it", two.rstrip(b"\n"), True),
            ("one called a certificate", as_certificate, False),
            ("one that begins as a certificate", two.replace(b"BEGIN X509 CRL", b"BEGIN CERTIFICATE"), False),
            ("one that ends as a certificate", two.replace(b"END X509 CRL", b"END CERTIFICATE"), False),
            ("one in one that is cut off", two[:100] + b"\n" + two, False),
            ("one behind it on its last line", b"-----BEGIN X-----\n-----END X-----" + two, False),
            *((f"one without its last {cut} bytes", two[:-cut], False) for cut in range(2, 60)),
        ):
            with self.subTest(what):
                content = one + more
                path = scratch(self) / "lists"
                path.write_bytes(content)
                try:
                    SSL.Context(SSL.TLS_METHOD).load_verify_locations(str(path))
                    takes = True
                except SSL.Error:
                    takes = False
                self.assertEqual(takes, is_whole)
                if is_whole:
                    self.assertEqual(len(crl_files.revoked_in("x", content).spans), content.count(BEGINS))
                else:
                    self.assertRaises(TLSConfigurationError, crl_files.revoked_in, "x", content)


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority("a CA")

    def store(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.authority.credential.certificate))
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
        return context

    def why_refused(self, context: SSL.Context, certificate: x509.Certificate) -> str:
        store = context.get_cert_store()
        assert store is not None
        try:
            crypto.X509StoreContext(store, crypto.X509.from_cryptography(certificate)).verify_certificate()
        except crypto.X509StoreContextError as error:
            return str(error)
        return ""

    def test_each_list_is_read_with_its_time(self) -> None:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        one = list_of(self.authority, 7, now=now)
        other = list_of(Authority("other"), now=datetime(2060, 1, 1, tzinfo=timezone.utc))
        found = read_lists(b"text\n" + b"more\n".join(each.public_bytes(Encoding.PEM) for each in (one, other)))
        for (since, until), each in zip(found.spans, (one, other), strict=True):
            assert each.next_update_utc is not None
            self.assertEqual(since, each.last_update_utc.timestamp())
            self.assertEqual(until, each.next_update_utc.timestamp())

    def test_what_is_revoked_is_refused(self) -> None:
        good, bad = (self.authority.issue(name).certificate for name in ("good", "bad"))
        for content in (
            list_of(self.authority, bad.serial_number).public_bytes(Encoding.PEM),
            large(self.authority, bad.serial_number),
        ):
            context = self.store()
            read_lists(content).add_to(context)
            self.assertEqual(self.why_refused(context, good), "")
            self.assertIn("revoked", self.why_refused(context, bad))

    def test_lines_of_any_length_are_decoded(self) -> None:
        made = large(self.authority, 7)
        lines = made.split(b"\n")
        text = b"".join(lines[1:-2])
        for size, end in ((63, b"\n"), (76, b"\r\n"), (len(text), b"\n")):
            broken = end.join(text[at : at + size] for at in range(0, len(text), size))
            self.assertEqual(len(read_lists(HEADER + broken + b"\n-----END X509 CRL-----\n").spans), 1)

    def test_what_is_no_list(self) -> None:
        made = list_of(self.authority, 7).public_bytes(Encoding.PEM)
        middle = len(made) // 2
        for content in (
            HEADER + b"-----END X509 CRL-----",
            made[:middle] + made[middle + 1 :],
            made[: middle & ~3] + b"\n-----END X509 CRL-----",
            HEADER + b"AAAA\n-----END X509 CRL-----",
        ):
            self.assertRaises(ListUnreadable, read_lists, content)
        self.assertEqual(read_lists(b"nothing").spans, ())

    def test_base64_is_read_strictly(self) -> None:
        """Python's decoder leaves out what is none: a list would be another than others read there."""
        made = large(self.authority, 7)
        at = made.index(b"\n", 5000) + 1
        for more in (b"----", b"!!!!", b"AA==", b"=" * 4):
            self.assertRaises(ListUnreadable, read_lists, made[:at] + more + made[at:])

    def test_bytes_behind_a_list_are_refused(self) -> None:
        der = list_of(self.authority, 7).public_bytes(Encoding.DER)
        for content in (der + b"\0", der[:-1], b"\x30\x80" + der[4:] + b"\0\0"):
            block = HEADER + b2a_base64(content) + b"-----END X509 CRL-----\n"
            self.assertRaises(ListUnreadable, read_lists, block)

    def test_a_list_that_is_not_taken_by_a_store_is_not_left_out(self) -> None:
        """As where there is no memory for it: a store without it would say of some that they are not revoked."""
        found = read_lists(list_of(self.authority, 7).public_bytes(Encoding.PEM))
        self.patch(
            revoked,
            "_library",
            SimpleNamespace(
                X509_STORE_add_crl=lambda *arguments: 0,
                ERR_clear_error=lambda: None,
                X509_CRL_free=revoked._library.X509_CRL_free,
            ),
        )
        self.assertRaises(ListUnreadable, found.add_to, self.store())
        ca = self.authority.certificate_pem
        words = str(self.assertRaises(TLSConfigurationError, Trust, [("ca-file", (("ca", ca),))], ("/crl", found)))
        self.assertIn("crl-file /crl: OpenSSL does not take a list in it", words)

    def test_sorting_asks_for_a_certificate_of_the_lists_ca(self) -> None:
        """OpenSSL sorts a list when it looks something up: so the question has to come that far. The certificate that
        is asked about has the number 1."""
        (head,) = read_lists(list_of(self.authority).public_bytes(Encoding.PEM))._heads
        asked = x509.load_der_x509_certificate(revoked._certificate_by(head))
        for number, words in ((1, "revoked"), (2, "signature")):
            context = self.store()
            lists = read_lists(list_of(self.authority, number).public_bytes(Encoding.PEM))
            lists.add_to(context)
            lists.sort(context)
            self.assertIn(words, self.why_refused(context, asked))


class ThreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.ends: list[Any] = []

    def run_steps(self, steps: Any) -> Any:
        Slices(self.reactor, steps, self.ends.append).start()  # type: ignore[arg-type]
        self.reactor.run(self.ends)
        return self.ends.pop()

    def test_a_worker_tells_results_and_faults(self) -> None:
        worker, found = Worker("test"), []
        for work in (lambda: 7, lambda: 1 // 0):
            done: Deferred[int] = worker.do(self.reactor, work)
            done.addErrback(lambda failure: str(failure.trap(ZeroDivisionError)))
            done.addCallback(self.ends.append)
            self.reactor.run(self.ends)
            found.append(self.ends.pop())
        self.assertEqual(found, [7, "<class 'ZeroDivisionError'>"])
        self.assertEqual(worker.wait_for(lambda: 8), 8)
        self.assertRaises(ZeroDivisionError, worker.wait_for, lambda: 1 // 0)

    def test_what_is_left_for_later_holds_up_nothing(self) -> None:
        worker, done = Worker("test"), SimpleQueue[str]()
        worker.leave(lambda: done.put("later"), 0.01)
        worker.leave(lambda: done.put("never"), 3600.0)
        self.assertEqual(worker.wait_for(lambda: "at once"), "at once")
        self.assertEqual(done.get(timeout=30), "later")

    def test_large_lists_are_read_ahead_in_a_thread(self) -> None:
        folder, authority = scratch(self), Authority("a CA")
        authority.write(folder / "ca")
        (folder / "crl").write_bytes(large(authority, 7))
        (folder / "small").write_bytes(list_of(authority, 7).public_bytes(Encoding.PEM))
        named = (("ca-file", str(folder / "ca")),)
        paths = [str(folder / name) for name in ("crl", "small", "missing")]
        trusts = Trusts()
        self.assertIsNone(self.run_steps(trusts.reading(paths, self.reactor)))
        with self.assertRaises(KeyError):
            trusts._contents[paths[0]]
        (folder / "crl").unlink()  # it is not read again
        ends = trusts.of(named, paths[0]).ends
        self.assertEqual(len(ends), 1)
        self.assertIsNone(self.run_steps(trusts.preparing(self.reactor)))
        self.assertEqual(len(trusts.spans[paths[0]]), 1)
        self.assertGreater(len(trusts.revocations[paths[0]]), SMALL)

        (folder / "crl").write_bytes(trusts.revocations[paths[0]])
        again = Trusts(trusts)
        self.patch(revoked, "_read", lambda *arguments: self.fail("it is the same"))
        self.assertIsNone(self.run_steps(again.reading(paths[:1], self.reactor)))
        self.assertTrue(again.of(named, paths[0]).trusts_the_same(trusts.of(named, paths[0])))

    def test_large_lists_among_cas_are_read_ahead_in_a_thread_too(self) -> None:
        """OpenSSL reads CAs and lists alike from a `ca-file`; once a `crl-file` has it look, these count."""
        folder, authority = scratch(self), Authority("a CA")
        authority.write(folder / "ca")
        other = Authority("another CA")
        bad, good, third = (
            each.issue(name).certificate for each, name in ((authority, "a"), (authority, "b"), (other, "c"))
        )
        both = (folder / "ca").read_bytes() + large(authority, bad.serial_number) + b"\n" + other.certificate_pem
        (folder / "ca").write_bytes(both)
        (folder / "crl").write_bytes(list_of(other, third.serial_number).public_bytes(Encoding.PEM))
        named, crl = (("ca-file", str(folder / "ca")),), str(folder / "crl")
        trusts, readers = Trusts(), list[Thread]()
        read = read_lists

        def reading(*arguments: Any) -> Any:
            readers.append(current_thread())
            return read(*arguments)

        self.patch(crl_files, "read_lists", reading)
        self.assertIsNone(self.run_steps(trusts.reading([crl], self.reactor, [str(folder / "ca")])))
        self.assertEqual(len(readers), 1)
        self.assertIsNot(readers[0], current_thread())
        trusted = trusts.of(named, crl)
        self.assertIsNone(self.run_steps(trusts.preparing(self.reactor)))
        self.assertEqual(len(readers), 2)  # and the small one, here
        refused = [self.refused(trusted, each) for each in (bad, good, third)]
        self.assertEqual(refused, ["certificate revoked", "", "certificate revoked"])
        self.assertEqual(self.refused(Trusts().of(named), bad), "")

        again = Trusts(trusts)
        self.assertIsNone(self.run_steps(again.reading([crl], self.reactor, [str(folder / "ca")])))
        self.assertTrue(again.of(named, crl).trusts_the_same(trusted))
        self.assertEqual(len(readers), 2)

        (folder / "ca").write_bytes(both.replace(b"-----BEGIN X509 CRL-----\nMI", b"-----BEGIN X509 CRL-----\nAA"))
        self.assertIsNone(self.run_steps(Trusts().reading([crl], self.reactor, [str(folder / "ca")])))
        error = self.assertRaises(TLSConfigurationError, Trusts().of, named, crl)
        self.assertIn(f"ca-file {folder / 'ca'}: a list of revoked certificates in it cannot be decoded", str(error))

    def refused(self, trusted: Trusted, shown: x509.Certificate) -> str:
        """Why a certificate is not taken; "" if it is."""
        context = SSL.Context(SSL.TLS_METHOD)
        trusted.give(context)
        store = context.get_cert_store()
        assert store is not None
        try:
            crypto.X509StoreContext(store, crypto.X509.from_cryptography(shown)).verify_certificate()
        except crypto.X509StoreContextError as error:
            return str(error)
        return ""

    def test_a_file_is_opened_by_the_event_loop(self) -> None:
        """Root opens some as another user (`acting`), who then is the user of all threads."""
        folder, opened = scratch(self), list[Thread]()
        path = str(folder / "crl")
        (folder / "crl").write_bytes(large(Authority("a CA")))

        def opening(*arguments: Any) -> BinaryIO:
            opened.append(current_thread())
            return open_bounded(*arguments)

        self.patch(crl_files, "open_bounded", opening)
        self.assertIsNone(self.run_steps(Trusts().reading([path], self.reactor)))
        self.assertEqual(opened, [current_thread()])

    def test_what_is_held_in_memory_is_read_ahead_too(self) -> None:
        folder, authority = scratch(self), Authority("a CA")
        authority.write(folder / "ca")
        held = FilesInMemory().with_revocations("/crl", large(authority, 7))
        trusts = Trusts(in_memory=held)
        self.assertIsNone(self.run_steps(trusts.reading(["/crl"], self.reactor)))
        self.patch(revoked, "_read", lambda *arguments: self.fail("it is read"))
        trusts.of((("ca-file", str(folder / "ca")),), "/crl")
        self.assertEqual(trusts.revocations["/crl"], held.revocations["/crl"])

    def test_a_reading_that_is_broken_off_leaves_nothing(self) -> None:
        """As by SIGTERM, or where a new process takes the place."""
        path = scratch(self) / "crl"
        path.write_bytes(large(Authority("a CA")))
        trusts = Trusts()
        slices = Slices(self.reactor, trusts.reading([str(path)], self.reactor), self.ends.append)  # type: ignore[arg-type]
        slices.start()
        slices.stop()
        call, arguments = self.reactor.handed.get(timeout=30)
        call(*arguments)
        self.assertEqual((self.ends, trusts.crl_files._lists), ([], {}))

    def test_what_is_wrong_with_a_large_list_is_said_where_it_is_named(self) -> None:
        folder, authority = scratch(self), Authority("a CA")
        authority.write(folder / "ca")
        path = str(folder / "crl")
        (folder / "crl").write_bytes(large(authority)[: SMALL + 100])
        trusts = Trusts()
        self.assertIsNone(self.run_steps(trusts.reading([path], self.reactor)))
        named = (("ca-file", str(folder / "ca")),)
        error = self.assertRaises(TLSConfigurationError, trusts.of, named, path)
        self.assertIn(f"crl-file {path}: is cut off", str(error))

    def test_a_large_list_is_freed_by_its_worker(self) -> None:
        """By whoever it was used last: the context is freed with the store in it."""
        left: list[Any] = []

        class Leaving(Worker):
            def leave(self, work: Any, after: float = 0.0) -> None:
                left.append((work, after))

        lists = read_lists(large(Authority("a CA")), None, Leaving("test"))
        context = SSL.Context(SSL.TLS_METHOD)
        lists.add_to(context)
        del lists
        self.assertEqual(left, [])
        del context
        self.assertEqual(len(left), 1)
        ((free, after),) = left
        self.assertGreater(after, 0)  # OpenSSL lets go of the store after Python's context has gone
        free()
