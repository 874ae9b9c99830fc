"""Lists of revoked certificates that are fetched (`crl-url`): when, what is done with them, and what is said."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from random import Random
from socket import AF_INET
from threading import Thread, current_thread
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_crl, load_pem_x509_crl
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.revocations import Source, fetches_of
from reusedproxy.config.model.tls import ListURL, Revocations
from reusedproxy.daemon.revocations.download import Downloads, Fetched, NotFetched
from reusedproxy.daemon.revocations.fetcher import ListFetcher
from reusedproxy.daemon.revocations.keeping import PIECE, keeping
from reusedproxy.daemon.revocations.taking import outcome_of
from reusedproxy.demo.certificates import Authority
from reusedproxy.measures.list_fetches import CHANGED, FAILED, UNCHANGED
from reusedproxy.net.resolver import Answers, Query
from reusedproxy.net.slices import run_through
from reusedproxy.net.tls import revoked
from reusedproxy.net.tls.revocations import checked_list, lists_in
from reusedproxy.net.tls.revoked import SMALL, ListUnreadable
from reusedproxy.net.tls.trusts import Trusts
from tests.test_net_revocations import DAY, list_of
from tests.wire import Loop, Server, scratch

HOUR = 3600.0


def url(text: str = "http://crl.test/ca.crl", port: int = 80) -> ListURL:
    return ListURL(text, "crl.test", port, "/ca.crl")


def numbers_in(content: bytes) -> list[int]:
    """The numbers that are revoked by a file, as cryptography reads it."""
    blocks = content.split(b"-----BEGIN")[1:]
    return [entry.serial_number for each in blocks for entry in load_pem_x509_crl(b"-----BEGIN" + each)]


class NameServer:
    """Knows one address."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    def resolve(self, queries: set[Query]) -> Deferred[Answers]:
        (query,) = queries
        if not self.addresses:
            return succeed({query: OSError(-2, "Name or service not known")})
        return succeed({query: [(AF_INET, (each, 0)) for each in self.addresses]})


class DownloadTests(SynchronousTestCase):
    """With real sockets, in memory else."""

    def setUp(self) -> None:
        self.loop = Loop(self)
        self.server = self.loop.server()
        self.names = NameServer("127.0.0.1")

    def get(self, answer: bytes, before: Fetched | None = None, server: Server | None = None) -> Any:
        """What comes of a download whose request gets this answer: `Fetched`, or the words of the failure."""
        at = (server or self.server).target.address[1]
        reactor: Any = self.loop.reactor
        downloads = Downloads(reactor, self.loop.poller, self.loop.deadlines, self.names)
        outcome: list[Any] = []
        running = Deferred.fromCoroutine(downloads.get(url(port=at), before or Fetched()))
        running.addCallbacks(
            outcome.append, lambda failure: outcome.append(str(failure.trap(NotFetched) and failure.value))
        )
        self.request = b""
        for _ in range(200):
            self.loop.pump()
            for far in self.server.accepted:
                if b"\r\n\r\n" in far.received:
                    self.request = far.take()
                    far.send(answer)
            if outcome:
                break
            self.loop.advance(1)
        self.assertEqual((self.loop.poller.watching(), self.loop.deadlines.watching()), (0, 0))
        self.loop.advance(200)  # the timer of deadlines wakes once more
        self.assertEqual(self.loop.clock.getDelayedCalls(), [])
        (found,) = outcome
        return found

    def test_an_answer_is_taken_with_its_validators(self) -> None:
        said = b'HTTP/1.1 200 OK\r\nETag: "7"\r\nLast-Modified: then\r\nContent-Length: 4\r\n\r\nlist'
        self.assertEqual(self.get(said), Fetched(b"list", b'"7"', b"then"))
        port = self.server.target.address[1]
        self.assertEqual(
            self.request,
            b"GET /ca.crl HTTP/1.1\r\nHost: crl.test:%d\r\nUser-Agent: reusedproxy\r\nConnection: close\r\n\r\n" % port,
        )

    def test_what_has_not_changed_is_not_sent_again(self) -> None:
        for before, field in (
            (Fetched(b"x", b'"7"', b"then"), b'If-None-Match: "7"\r\n'),
            (Fetched(b"x", b"", b"then"), b"If-Modified-Since: then\r\n"),
        ):
            found = self.get(b"HTTP/1.1 304 Not Modified\r\n\r\n", before)
            self.assertEqual((found.body, found.etag, found.modified), (None, before.etag, before.modified))
            self.assertIn(field, self.request)

    def test_what_is_no_answer(self) -> None:
        """Nothing is followed, and nothing is decoded."""
        for said, words in (
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server answered 404"),
            (
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
                "the server answered 302, which is not followed",
            ),
            (b"HTTP/1.1 304 Not Modified\r\n\r\n", "the server answered 304"),
            (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "the answer is encoded"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000, "longer than 16777216 bytes"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "timeout server"),
            (b"nonsense\r\n\r\n", ""),
        ):
            self.assertIn(words, self.get(said), said[:60])
            self.assertEqual(self.server.newest.end or "open", self.server.newest.end or "open")

    def test_the_next_address_is_tried(self) -> None:
        self.names = NameServer("127.0.0.9", "127.0.0.1")
        self.assertEqual(self.get(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").body, b"x")

    def test_nobody_there(self) -> None:
        self.server.stop()
        self.assertIn("Connection refused", self.get(b""))
        self.names = NameServer()
        self.assertIn("the name 'crl.test' cannot be resolved: Name or service not known", self.get(b""))


class FakeDownloads:
    """Answers from `answers`, the last one again and again: bytes, None for what has not changed, or a failure."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[tuple[str, Fetched]] = []

    async def get(self, at: ListURL, before: Fetched) -> Fetched:
        self.asked.append((at.text, before))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, str):
            raise NotFetched(answer)
        return Fetched(answer, b'"tag"')


class World:
    """A proxy, as far as a fetcher knows one."""

    def __init__(self, sources: dict[str, Source], trusts: Trusts) -> None:
        self.list_sources = sources
        self.list_fetches = fetches_of(sources, {})
        self.trusts = trusts


class FetcherTestCase(SynchronousTestCase):
    clocks: type[Clock] = Clock

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.file = str(self.folder / "ca.crl")
        self.authority = Authority("a CA")
        self.clock = self.clocks()
        self.clock.advance(1000)
        self.downloads = FakeDownloads()
        self.said: list[tuple[str, str]] = []
        self.taken: list[list[str]] = []
        self.busy = False
        self.trusts = Trusts()
        self.trusts.authorities["/ca"] = (self.authority.certificate_pem,)
        self.urls: tuple[ListURL, ...] = (url(),)
        self.fetcher = ListFetcher(
            self.clock, Random(1), lambda level, text: self.said.append((level, text)), self.take_up
        )
        self.addCleanup(self.fetcher.stop)

    def take_up(self, files: list[str]) -> bool:
        if not self.busy:
            self.taken.append(files)
        return not self.busy

    def begin(self, *answers: Any, refresh: float = HOUR) -> None:
        self.downloads.answers = [*answers]
        self.world = World({self.file: Source(self.file, Revocations(self.urls, refresh), ("/ca",))}, self.trusts)
        self.go_on()

    def go_on(self) -> None:
        downloads: Any = self.downloads
        self.fetcher.begin(self.world, downloads)

    def der(self, *revoked: int, **more: Any) -> bytes:
        return list_of(more.pop("of", self.authority), *revoked, **more).public_bytes(Encoding.DER)

    @property
    def counts(self) -> dict[str, int]:
        return self.world.list_fetches[self.urls[0].text].counts

    @property
    def held(self) -> list[int]:
        """The numbers that are revoked by the file."""
        with open(self.file, "rb") as file:
            return numbers_in(file.read())

    def after(self, seconds: float) -> None:
        """So much later, and as much as fetches may be earlier."""
        self.clock.advance(seconds)


class FetcherTests(FetcherTestCase):
    def test_a_list_is_fetched_kept_and_taken_up(self) -> None:
        self.begin(self.der(7))
        self.assertEqual((self.held, self.taken), ([7], [[self.file]]))
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode) & 0o444, 0o444)
        self.assertEqual(os.listdir(self.folder), ["ca.crl"])
        ((level, text),) = self.said
        self.assertEqual(level, "notice")
        self.assertIn("crl-url http://crl.test/ca.crl: the list is fetched, 1 revoked; the next one is due ", text)
        fetches = self.world.list_fetches[self.urls[0].text]
        assert fetches.last is not None and fetches.until is not None
        self.assertEqual((fetches.trouble, round(fetches.until - fetches.last, -2)), ("", 86400))

    def test_it_is_asked_for_again_and_taken_up_only_where_it_has_changed(self) -> None:
        one, two = self.der(7), self.der(7, 8, crl_number=2)
        self.begin(one, None, one, two)
        for expected, taken in (([7], 1), ([7], 1), ([7, 8], 2)):
            self.after(HOUR)
            self.assertEqual((self.held, len(self.taken)), (expected, taken))
        self.assertEqual(self.counts, {CHANGED: 2, UNCHANGED: 2, FAILED: 0})
        self.assertEqual([before.etag for _, before in self.downloads.asked], [b"", *[b'"tag"'] * 3])
        self.assertEqual(len(self.said), 2)

    def test_what_is_the_same_is_not_decoded_again(self) -> None:
        """Unless somebody has changed the file, or taken it away."""
        one = self.der(7)
        self.begin(one)
        decoded: list[bytes] = []
        taking = sys.modules[outcome_of.__module__]

        def decode(content: bytes) -> object:
            decoded.append(content)
            return lists_in(content)

        self.patch(taking, "lists_in", decode)
        self.patch(taking, "checked_list", lambda *arguments: self.fail("it is the same"))
        for answer in (one, None):
            self.downloads.answers = [answer]
            self.after(HOUR)
        self.assertEqual((decoded, self.counts[UNCHANGED]), ([], 2))
        os.unlink(self.file)
        self.after(HOUR)
        self.assertEqual((decoded, self.held, len(self.taken)), ([b""], [7], 2))

    def test_it_is_asked_for_at_half_of_its_time(self) -> None:
        self.begin(self.der(until=timedelta(minutes=20)))
        self.after(8 * 60)
        self.assertEqual(len(self.downloads.asked), 1)
        self.after(2 * 60)
        self.assertEqual(len(self.downloads.asked), 2)

    def test_a_file_of_before_is_used_again(self) -> None:
        """After a restart nothing is opened anew for the list that is there."""
        self.begin(self.der(7))
        content = self.der(7)
        self.fetcher.stop()
        self.taken.clear()
        with open(self.file, "wb") as file:
            file.write(load_der_x509_crl(content).public_bytes(Encoding.PEM))
        self.begin(content)
        self.assertEqual((self.taken, self.counts[UNCHANGED]), ([], 1))

    def test_a_failure_changes_nothing_and_is_said_once(self) -> None:
        good = self.der(7)
        self.begin(good, "Connection refused", "Connection refused", good, "Connection refused")
        self.after(HOUR)
        self.assertEqual((self.held, len(self.taken), self.counts[FAILED]), ([7], 1, 1))
        self.after(60)
        self.assertEqual(self.counts[FAILED], 2)
        warnings = [text for level, text in self.said if level == "warning"]
        self.assertEqual(len(warnings), 1)
        self.assertIn("no list was fetched: Connection refused; the list at hand holds until ", warnings[0])
        self.after(60)
        self.assertEqual(len(self.downloads.asked), 3)  # the second failure doubles the time
        self.after(60)
        self.assertEqual((len(self.downloads.asked), self.world.list_fetches[self.urls[0].text].trouble), (4, ""))
        self.assertEqual([level for level, _ in self.said], ["notice", "warning", "notice"])
        self.after(HOUR)
        self.assertEqual(self.said[-1][0], "warning")

    def test_a_server_that_is_away_for_long_is_asked_each_hour(self) -> None:
        self.begin("away")
        self.after(24 * HOUR)
        for _ in range(23):
            self.after(HOUR)
        asked = len(self.downloads.asked)
        self.after(HOUR)
        self.assertLessEqual(len(self.downloads.asked) - asked, 2)
        self.assertLess(asked, 40)
        self.assertIn(f"what is in {self.file} stays in use", self.said[0][1])

    def test_what_somebody_else_answers_changes_nothing(self) -> None:
        good = self.der(7)
        for other, words in (
            (self.der(8, signer=Authority("a CA")), "its signature is not that of CN=a CA"),
            (self.der(of=Authority("x")), "whose certificate is not in the 'ca-file'"),
            (self.der(since=-3 * DAY), "it is older ("),
            (b"<html>", "it is no list of revoked certificates"),
        ):
            self.said.clear()
            self.begin(good, other)
            self.after(HOUR)
            self.assertEqual(self.held, [7], words)
            self.assertIn(f"the list is not taken: {words}", self.said[-1][1].replace("it is of CN=x, ", ""))
            self.fetcher.stop()

    def test_lists_of_other_cas_stay(self) -> None:
        other = Authority("offline")
        with open(self.file, "wb") as file:
            file.write(list_of(other, 1).public_bytes(Encoding.PEM))
        self.begin(self.der(7))
        self.assertEqual(self.held, [1, 7])

    def test_several_urls_are_taken_up_together(self) -> None:
        second = Authority("second")
        self.trusts.authorities["/ca"] += (second.certificate_pem,)
        self.urls = (url(), url("http://crl.test/second.crl"))
        self.begin(self.der(7), self.der(8, of=second))
        self.assertEqual((self.held, self.taken), ([7, 8], [[self.file]]))
        self.begin("away", self.der(8, of=second))
        self.assertEqual(self.held, [7, 8])

    def test_a_reload_that_is_under_way_is_waited_for(self) -> None:
        self.busy = True
        self.begin(self.der(7))
        self.after(5)
        self.assertEqual(self.taken, [])
        self.busy = False
        self.after(1)
        self.assertEqual(self.taken, [[self.file]])
        self.after(60)
        self.assertEqual(len(self.taken), 1)

    def test_a_reload_leaves_what_has_not_changed_as_it_is(self) -> None:
        self.begin(self.der(7))
        self.go_on()
        self.assertEqual(len(self.downloads.asked), 1)
        source = self.world.list_sources[self.file]
        self.world.list_sources = {self.file: Source(source.file, Revocations(source.urls, 60.0), source.ca_files)}
        self.go_on()
        self.assertEqual(len(self.downloads.asked), 2)
        self.world.list_sources = {}
        self.go_on()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_in_the_middle(self) -> None:
        never: Deferred[bytes] = Deferred()
        self.begin(never)
        self.fetcher.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(never.called)

    def test_a_file_that_cannot_be_written(self) -> None:
        self.file = str(self.folder / "missing" / "ca.crl")
        self.begin(self.der(7))
        self.assertIn(f"the list cannot be kept in {self.file}: No such file or directory", self.said[0][1])
        self.assertEqual((self.counts[FAILED], self.taken), (1, []))

    def test_an_error_of_ours_is_not_the_last_fetch(self) -> None:
        taking = sys.modules[outcome_of.__module__]
        broken: Callable[..., Any] = lambda *arguments: 1 // 0  # noqa: E731
        self.patch(taking, "checked_list", broken)
        self.begin(self.der(7))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.after(HOUR)
        self.assertEqual(len(self.downloads.asked), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Handing(Clock):
    """Calls what a thread hands over in the thread of the test."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        self.handed.put((call, arguments))

    def call_next(self) -> None:
        call, arguments = self.handed.get(timeout=30)
        call(*arguments)
        for _ in range(20):
            self.advance(0.002)  # the file is written in slices


class LargeTests(FetcherTestCase):
    """Lists that would hold up the event loop."""

    clock: Handing
    clocks = Handing

    def large(self, *revoked: int, **more: Any) -> bytes:
        return self.der(*revoked, *range(10**40, 10**40 + SMALL // 30), **more)

    def test_a_thread_looks_at_a_large_list(self) -> None:
        taking, threads = sys.modules[outcome_of.__module__], list[Thread]()

        def checked(*arguments: Any) -> Any:
            threads.append(current_thread())
            return checked_list(*arguments)

        self.patch(taking, "checked_list", checked)
        self.begin(self.large(7))
        self.assertEqual(os.listdir(self.folder), [])
        self.clock.call_next()
        self.assertEqual((self.held[0], self.taken), (7, [[self.file]]))
        self.assertNotIn(current_thread(), threads)

    def test_the_reload_that_takes_it_up_finds_it_read(self) -> None:
        self.begin(self.large(7))
        self.clock.call_next()
        self.patch(revoked, "_read", lambda *arguments: self.fail("it is read"))
        self.authority.write(self.folder / "ca")
        trusted = Trusts(self.trusts).of((("ca-file", str(self.folder / "ca")),), self.file)
        self.assertEqual(len(trusted.ends), 1)

    def test_a_forged_list_is_not_decoded(self) -> None:
        taking = sys.modules[outcome_of.__module__]
        self.patch(taking, "read_lists", lambda *arguments: self.fail("it is forged"))
        self.begin(self.large(7, signer=Authority("a CA")))
        self.clock.call_next()
        self.assertEqual((os.listdir(self.folder), self.counts[FAILED]), ([], 1))
        self.assertIn("its signature is not that of CN=a CA", self.said[0][1])

    def test_a_small_list_for_a_large_file(self) -> None:
        with open(self.file, "wb") as file:
            file.write(load_der_x509_crl(self.large(1, of=Authority("offline"))).public_bytes(Encoding.PEM))
        self.begin(self.der(7))
        self.assertEqual(self.taken, [])
        self.clock.call_next()
        self.assertEqual((self.held[0], self.held[-1], self.taken), (1, 7, [[self.file]]))

    def test_a_stop_while_a_thread_looks_at_it(self) -> None:
        self.begin(self.large(7))
        self.fetcher.stop()
        self.clock.call_next()
        self.assertEqual((os.listdir(self.folder), self.taken, self.said), ([], [], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_openssl_does_not_read_is_refused(self) -> None:
        """A restart would find a file that cannot be used."""
        taking = sys.modules[outcome_of.__module__]

        def unread(*arguments: Any) -> None:
            raise ListUnreadable

        self.patch(taking, "read_lists", unread)
        self.begin(self.large(7))
        self.clock.call_next()
        self.assertEqual((os.listdir(self.folder), self.counts[FAILED]), ([], 1))
        self.assertIn("the list is not taken: OpenSSL cannot read it", self.said[0][1])


class KeepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = scratch(self)
        self.path = str(self.folder / "file")
        run_through(keeping(self.path, b"one", None))

    @property
    def found(self) -> tuple[bytes, list[str]]:
        return (self.folder / "file").read_bytes(), os.listdir(self.folder)

    def test_a_failure_leaves_the_old_file(self) -> None:
        run_through(keeping(self.path, b"two", os.stat(self.path)))
        self.assertEqual(self.found, (b"two", ["file"]))
        before = os.stat(self.path)
        self.patch(os, "replace", lambda *arguments, **more: (_ for _ in ()).throw(OSError("no")))
        self.assertRaises(OSError, run_through, keeping(self.path, b"three", before))
        self.assertEqual(self.found, (b"two", ["file"]))

    def test_what_is_abandoned_leaves_the_old_file(self) -> None:
        steps = keeping(self.path, b"two", os.stat(self.path))
        next(steps)
        steps.close()
        self.assertEqual(self.found, (b"one", ["file"]))

    def test_a_large_file_is_written_in_steps(self) -> None:
        content = bytes(range(256)) * (3 * PIECE // 256) + b"x"
        self.assertEqual(len([*keeping(self.path, content, os.stat(self.path))]), 4)
        self.assertEqual(self.found, (content, ["file"]))

    def test_a_file_that_somebody_else_has_changed_meanwhile_stays(self) -> None:
        """Another process of ours, or an operator: theirs may have what is newer."""
        before = os.stat(self.path)
        run_through(keeping(self.path, b"newer", before))
        for known in (before, None):
            error = self.assertRaises(OSError, run_through, keeping(self.path, b"two", known))
            self.assertEqual(error.strerror, "somebody else has changed it meanwhile")
        self.assertEqual(self.found, (b"newer", ["file"]))
