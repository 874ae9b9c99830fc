"""`spiffe-workload-api`: what an agent's answers mean, and how SVIDs are waited for, turned over and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from unittest import mock

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Said
from reusedproxy.config.model.values import Place
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.starting.account import Account
from reusedproxy.daemon.workload import client, source
from reusedproxy.daemon.workload.messages import Malformed, svid_in
from reusedproxy.daemon.workload.source import WORD, WorkloadAPI
from reusedproxy.demo.certificates import Credential
from reusedproxy.net.tls.svid import NOT_ASKED
from reusedproxy.operators.runtime.authorities import show_ssl_ca_file
from reusedproxy.operators.runtime.certificates import CERTIFICATES, show_ssl_cert
from reusedproxy.operators.runtime.proxy import ADMIN, Context, Refusal
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, ImmediateResolver, Reactor, ServiceTestCase
from tests.wire import certificates
from tests.workload_agent import answer_with, field, why_not_grpc

PLACE = Place("proxy.cfg", 2)
SAID = Said(PLACE, WORD, "unix:/agent.sock")


def credential(life: float = 3600.0) -> Credential:
    end = datetime.now(timezone.utc) + timedelta(seconds=life)
    hosts = ["spiffe://example.org/proxy"]
    return certificates().authority.issue("proxy", hosts=hosts, client=True, key="ecdsa", not_after=end)


def line_of(ours: Credential) -> str:
    return json.dumps(svid_in(answer_with(ours, certificates().authority)))


class PauseTests(SynchronousTestCase):
    """How soon the agent is asked again whose stream has ended."""

    skip = why_not_grpc

    def test_it_grows_until_a_stream_has_lasted(self) -> None:
        """An agent that gives an SVID and ends at once, again and again, is not asked twice a second for ever."""
        now, lasts, paused, said = [0.0], [1.0] * 8 + [40.0, 1.0], list[float](), list[dict[str, str]]()

        def answers(grpc: object, address: str) -> Iterator[bytes]:
            if not lasts:
                raise KeyboardInterrupt
            yield b"an answer"
            now[0] += lasts.pop(0)

        for name, stand_in in (
            ("_answers", answers),
            ("svid_in", lambda answer: {"id": "spiffe://a/b"}),
            ("_say", said.append),
            ("_end_with_daemon", lambda: None),
            ("signal", mock.Mock()),
            ("time", mock.Mock(monotonic=lambda: now[0], sleep=paused.append)),
        ):
            self.patch(client, name, stand_in)
        self.assertRaises(KeyboardInterrupt, client.main, "unix:/none")
        self.assertEqual(paused, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 0.5, 1.0])
        self.assertEqual(said[:2], [{"id": "spiffe://a/b"}, {"fault": "the agent has ended the stream"}])


class MessageTests(SynchronousTestCase):
    def test_an_svid_and_what_is_not_asked_for(self) -> None:
        ours, other = credential(), certificates().stranger
        found = svid_in(answer_with(ours, certificates().authority, other))
        pem = [each.credential.certificate.public_bytes(Encoding.PEM) for each in (certificates().authority, other)]
        self.assertEqual(found["id"], "spiffe://example.org/proxy")
        self.assertEqual(found["chain"].encode(), ours.certificate.public_bytes(Encoding.PEM))
        self.assertEqual(found["bundle"].encode(), b"".join(pem))
        key = ours.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assertEqual(found["key"].encode(), key)

    def test_the_first_is_the_default(self) -> None:
        two = answer_with(credential(), certificates().authority, name="spiffe://e/a")
        two += answer_with(credential(), certificates().authority, name="spiffe://e/b")
        self.assertEqual(svid_in(two)["id"], "spiffe://e/a")

    def test_other_kinds_of_fields_are_passed_over(self) -> None:
        """A later version of the standard may have numbers in it: of 64 bits, of 32, and of any size."""
        others = b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x78\xff\x01"
        self.assertEqual(svid_in(others + answer_with(credential(), certificates().authority))["id"][:9], "spiffe://")

    def test_what_is_no_answer(self) -> None:
        whole = answer_with(credential(), certificates().authority)
        for answer, why in (
            (b"", "the answer has no SVID"),
            (whole[: len(whole) // 2], "a field is cut off"),
            (b"\x0b", "unknown wire type 3"),
            (b"\x80" * 11, "a number is cut off, or too long"),
            (b"\x80", "a number is cut off, or too long"),
            (field(1, field(2, b"x")), "the SVID has no key"),
            (field(1, field(2, b"xy") + field(3, b"k") + field(4, b"b")), "something else among the certificates"),
            (field(1, field(2, b"\x30\x05x") + field(3, b"k") + field(4, b"b")), "a certificate is cut off"),
            (field(1, field(2, b"\x30\x80x") + field(3, b"k") + field(4, b"b")), "a certificate has no length"),
        ):
            self.assertIn(why, str(self.assertRaises(Malformed, svid_in, answer)))


class Pipe:
    """A process that prints what a test has it print."""

    def __init__(self) -> None:
        self.output, self._input = os.pipe()
        self.is_over = False

    def say(self, *lines: str) -> None:
        os.write(self._input, "".join(f"{each}\n" for each in lines).encode())

    def die(self) -> None:
        """Ends, as if it had been killed."""
        os.close(self._input)
        self._input = -1

    def end(self) -> None:
        self.is_over = True
        os.close(self.output)
        if self._input != -1:
            self.die()


class SourceTests(SynchronousTestCase):
    """The pipe, read as the reactor has it read."""

    skip = why_not_grpc

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.said: list[str] = []
        self.taken: list[list[str]] = []
        self.may_take = True
        self.pipes: list[Pipe] = []
        self.api = WorkloadAPI(self.reactor, lambda level, text: self.said.append(f"{level} {text}"), self.take)
        self.api.spawn = self.spawn
        self.first = [line_of(credential())]
        self.addCleanup(self.api.stop)

    def take(self, names: list[str]) -> bool:
        self.taken.append(names)
        return self.may_take

    def spawn(self, address: str, account: Account | None) -> Pipe:
        self.asked = address, account
        self.pipes.append(pipe := Pipe())
        pipe.say(*self.first)
        return pipe

    def open(self) -> Pipe:
        self.assertEqual(self.api.open(SAID, None, ask=True), [])
        self.api.begin()
        return self.pipes[0]

    def say(self, *lines: str) -> None:
        self.pipes[-1].say(*lines)
        self.api.doRead()

    def test_the_first_is_waited_for(self) -> None:
        """After a fault, too: the agent may start with us. Nothing is turned over then, nor said."""
        self.first.insert(0, '{"fault": "not yet"}')
        account = Account(7, 8, (8,))
        self.assertEqual(self.api.open(SAID, account, ask=True), [])
        self.assertEqual(self.asked, ("unix:/agent.sock", account))
        assert self.api.svid is not None
        self.assertEqual((self.api.svid.number, self.taken, self.said), (1, [], []))

    def test_it_is_not_waited_for_without_end(self) -> None:
        self.first = ['{"fault": "nobody there (UNAVAILABLE)"}']
        self.patch(source, "FIRST", 0.01)
        account = Account(7, 8, (8,))
        (fault,) = self.api.open(SAID, account, ask=True)
        self.assertEqual(fault.place, PLACE)
        for part in (
            "from unix:/agent.sock within 0.01 s: nobody there (UNAVAILABLE);",
            f"that user {account.name} may connect",
        ):
            self.assertIn(part, str(fault))
        self.assertTrue(self.pipes[0].is_over)

    def test_nobody_is_asked_by_a_check_nor_without_the_word(self) -> None:
        self.assertEqual(self.api.open(None, None, ask=True), [])
        self.assertIsNone(self.api.svid)
        self.assertEqual(self.api.open(SAID, None, ask=False), [])
        self.assertEqual((self.api.svid, self.pipes), (NOT_ASKED, []))

    def test_a_python_that_the_user_may_not_start(self) -> None:
        """Where root has one below its home directory."""
        account = Account(7, 8, (8,))
        with mock.patch.object(self.api, "spawn", side_effect=PermissionError(13, "Permission denied")):
            (fault,) = self.api.open(SAID, account, ask=True)
        self.assertIn(f" cannot be started as user {account.name}: Permission denied", str(fault))

    def test_grpc_is_needed(self) -> None:
        with mock.patch.object(source, "find_spec", return_value=None):
            (fault,) = self.api.open(SAID, None, ask=False)
        text = "'spiffe-workload-api' needs gRPC, which is not installed: pip install \"reusedproxy[spiffe]\""
        self.assertEqual(str(fault), f"proxy.cfg:2: {text}")

    def test_another_is_taken_up_and_the_same_is_not(self) -> None:
        self.open()
        self.say(*self.first)
        self.assertEqual(self.taken, [])
        self.say(line_of(credential()))
        assert self.api.svid is not None
        self.assertEqual((self.taken, self.api.svid.number), ([["@spiffe"]], 2))

    def test_a_line_may_come_in_pieces(self) -> None:
        pipe, line = self.open(), line_of(credential()) + "\n"
        os.write(pipe._input, line[:100].encode())
        self.api.doRead()
        self.assertEqual(self.taken, [])
        os.write(pipe._input, line[100:].encode())
        self.api.doRead()
        self.assertEqual(self.taken, [["@spiffe"]])

    def test_during_a_reload_it_waits(self) -> None:
        self.open()
        self.may_take = False
        self.say(line_of(credential()))
        self.reactor.advance(source.BUSY)
        self.may_take = True
        self.reactor.advance(source.BUSY)
        self.assertEqual(len(self.taken), 3)
        self.reactor.advance(source.BUSY)
        self.assertEqual(len(self.taken), 3)

    def test_that_the_agent_is_away_is_said_once(self) -> None:
        self.open()
        assert self.api.svid is not None
        for _ in range(3):
            self.say('{"fault": "gone (UNAVAILABLE)"}')
        (said,) = self.said
        self.assertIn("warning spiffe-workload-api unix:/agent.sock: no stream from the agent: gone", said)
        self.assertIn("the SVID at hand stays in use until ", said)
        self.say(*self.first)
        self.assertEqual(self.said[1:], ["notice spiffe-workload-api unix:/agent.sock: the agent is back"])
        self.assertEqual(self.taken, [])

    def test_the_process_is_started_again_at_growing_intervals(self) -> None:
        self.open()
        self.first = []
        for number, pause in enumerate((1.0, 2.0, 4.0), 1):
            self.pipes[-1].die()
            self.api.connectionLost("hung up")
            self.reactor.advance(pause - 0.1)
            self.assertEqual(len(self.pipes), number)
            self.reactor.advance(0.2)
            self.assertEqual((len(self.pipes), self.pipes[-2].is_over), (number + 1, True))
        self.assertEqual(len(self.said), 1)
        self.say(line_of(credential()))
        self.assertEqual((len(self.said), len(self.taken)), (2, 1))

    def test_a_stop_leaves_nothing(self) -> None:
        self.open()
        self.may_take = False
        self.say(line_of(credential()))
        self.api.stop()
        self.assertEqual((self.pipes[0].is_over, self.reactor.getDelayedCalls()), (True, []))
        self.assertIsNotNone(self.api.svid)


class TurnoverTests(ServiceTestCase):
    """The whole service on a clock."""

    skip = why_not_grpc

    def setUp(self) -> None:
        super().setUp()
        self.said: list[tuple[str, str]] = []
        self.pipe = Pipe()
        self.ours = credential()
        self.pipe.say(line_of(self.ours))
        self.words = "crt @spiffe ca-file @spiffe verifyspiffe spiffe://example.org/web"
        self.config = self.written(" spiffe-workload-api unix:/agent.sock\n")

    def written(self, word: str, words: str = "") -> str:
        lines = f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n server s localhost:1 ssl "
        return self.text("proxy.cfg", f"global\n{word}{HEAD}{lines}{words or self.words}\n")

    def made(self, *, bind: bool = True) -> ProxyService:
        self.service = service = ProxyService(self.reactor, [self.config])
        self.patch(service, "announce", lambda level, text, section="": self.said.append((level, text)))
        self.patch(service.reloads, "resolver", ImmediateResolver())
        self.patch(service.stalls.watchdog, "_timer", lambda seconds: None)
        service.workload.spawn = lambda address, account: self.pipe
        service.assemble(bind=bind)
        return service

    def start(self) -> None:
        self.made().startService()
        self.addCleanup(self.stop)
        self.said.clear()

    def give(self, *lines: str) -> None:
        self.pipe.say(*lines)
        self.service.workload.doRead()
        self.reactor.pump([1.0] * 8)

    def shown(self) -> tuple[int, int]:
        """The serial number of our certificate, and the generation of the server's connections."""
        context = self.proxy.lines["b/s"].pool.context
        assert context is not None and context.ours is not None
        return context.ours.serial_number, context.generation

    def test_a_new_one_is_shown_to_new_connections(self) -> None:
        self.start()
        self.assertEqual(self.shown(), (self.ours.certificate.serial_number, 1))
        renewed = credential()
        self.give(line_of(renewed))
        self.assertEqual(self.shown(), (renewed.certificate.serial_number, 2))
        self.assertIn(("notice", "files of TLS (@spiffe) reloaded: 0 of 1 pools kept as they are"), self.said)

    def test_servers_with_files_of_their_own_keep_their_pools(self) -> None:
        ca_file = self.authority.write(self.folder / "ca.pem")
        lines = f"{self.words}\n server t localhost:2 ssl ca-file {ca_file} sni str(t.test)"
        self.config = self.written(" spiffe-workload-api unix:/agent.sock\n", lines)
        self.start()
        pool = self.proxy.lines["b/t"].pool
        self.give(line_of(credential()))
        self.assertIs(self.proxy.lines["b/t"].pool, pool)
        self.assertEqual(self.shown()[1], 2)

    def test_one_that_cannot_be_used_changes_nothing(self) -> None:
        self.start()
        broken = json.loads(line_of(credential()))
        broken["key"] = json.loads(line_of(credential()))["key"]
        self.give(json.dumps(broken))
        self.assertEqual(self.shown(), (self.ours.certificate.serial_number, 1))
        ((level, text),) = [each for each in self.said if each[0] != "notice"]
        self.assertEqual(level, "alert")
        self.assertIn("spiffe-workload-api: " + self.config, text)
        self.assertIn("crt @spiffe: no usable private key: it does not belong to the first certificate", text)

    def test_a_reload_keeps_the_stream_and_the_pools(self) -> None:
        self.start()
        pool = self.proxy.lines["b/s"].pool
        self.service.reload()
        self.reactor.pump([1.0] * 8)
        self.assertIs(self.proxy.lines["b/s"].pool, pool)
        self.assertFalse(self.pipe.is_over)
        self.give(line_of(credential()))
        self.assertEqual(self.shown()[1], 2)

    def test_another_agent_needs_a_start(self) -> None:
        self.start()
        self.written(" spiffe-workload-api unix:/other.sock\n")
        self.service.reload()
        self.reactor.pump([1.0] * 8)
        text = "reload: 'spiffe-workload-api' has changed; this takes effect at the next start only"
        self.assertIn(("warning", text), self.said)

    def test_a_reload_cannot_begin_to_ask(self) -> None:
        ca_file = self.authority.write(self.folder / "ca.pem")
        self.written("", f"ca-file {ca_file} sni str(s.test)")
        self.start()
        self.written(" spiffe-workload-api unix:/agent.sock\n")
        self.service.reload()
        self.reactor.pump([1.0] * 8)
        alerts = "".join(text for level, text in self.said if level == "alert")
        self.assertIn("crt @spiffe: no agent is asked: 'spiffe-workload-api' takes effect at the next start", alerts)
        self.pipe.end()

    def test_a_check_asks_nobody(self) -> None:
        service = self.made(bind=False)
        assert service.proxy is not None
        notices = [str(each.text) for each in service.proxy.notices]
        self.assertIn("'spiffe-workload-api': the agent is not asked here", "".join(notices))
        self.assertIsNone(service.proxy.lines["b/s"].pool.context.ours)  # type: ignore[union-attr]
        self.pipe.end()

    def test_faults_end_the_process(self) -> None:
        self.config = self.written(" spiffe-workload-api unix:/agent.sock\n", self.words + " crl-file /none/there")
        self.assertRaises(Refused, self.made)
        self.assertTrue(self.pipe.is_over)

    def test_operators_see_it_and_cannot_set_it(self) -> None:
        """In the runtime API: what they set would be gone with the next one from the agent."""
        self.start()
        context = Context(self.service, ADMIN, 0.0)
        self.assertIn("@spiffe\n", "".join(show_ssl_cert(context, ())))
        serial = f"{self.ours.certificate.serial_number:X}"
        whole_bytes = serial.zfill(len(serial) + len(serial) % 2)
        self.assertIn(f"Serial: {whole_bytes}\n", "".join(show_ssl_cert(context, ("@spiffe",))))
        self.assertIn("Filename: @spiffe", "".join(show_ssl_ca_file(context, ("@spiffe",))))
        for name in ("@spiffe", "@spiffe.key"):
            refused = self.assertRaises(Refusal, CERTIFICATES.set, evolve(context, payload="x"), (name,))
            self.assertIn("It comes from the agent of 'spiffe-workload-api'", str(refused))

    def test_only_its_end_is_worth_a_line(self) -> None:
        """An hour is all that it has."""
        self.start()
        said: list[str] = []
        self.patch(self.service._expiry, "_announce", lambda level, text: said.append(text))
        self.give(line_of(credential(1800.0)))
        self.assertEqual(said, [])
        self.give(line_of(credential(-60.0)))
        self.assertIn("server b/s: crt @spiffe: has expired, on ", "".join(said))
