"""Error pages of one's own: which one a client gets, what becomes of its connection, and what is counted."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.answers import Answers
from reusedproxy.build.assembly import Assembly, AssemblyError
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.daemon.load import load
from reusedproxy.daemon.service import ProxyService
from reusedproxy.exchanges.own_answers import ERRORS
from tests.clientfakes import GET, World, get
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.rulefakes import DEFAULTS, ruled

KEPT = b"HTTP/1.1 503 Own\r\nContent-Length: 2\r\n\r\nok"


class Pages(SynchronousTestCase):
    """A world whose sections have these lines; `files` are what they name."""

    def world(self, frontend: str, backend: str = "", files: dict[str, bytes] | None = None, **world: Any) -> World:
        text = (
            DEFAULTS
            + f"frontend fe\n bind :80\n{frontend}\n default_backend be\nbackend be\n{backend}\n server s1 h:1\n"
        )
        said = read_configuration([Source("t.cfg", text)], {})
        made = ruled(self, frontend, backend, files=files, **world)
        answers = Answers(files={**(files or {})})
        made.frontend.errors = answers.pages(said.frontends["fe"].errors)
        made.backend.errors = answers.pages(said.backends["be"].errors)
        self.assertEqual(answers.faults, [])
        return made

    def answers(self, world: World, sent: bytes) -> bytes:
        client = world.client()
        client.send(sent)
        return client.take()


class WhichPageTests(Pages):
    DENY = "http-request deny deny_status 503 if { path /no }\n http-request deny if { path /403 }"

    def test_that_of_the_backend_counts_before_that_of_the_frontend(self) -> None:
        """Once the request is there; until then only the frontend's."""
        files = {"/f": KEPT, "/b": KEPT.replace(b"ok", b"be")}
        world = self.world(
            f"errorfile 503 /f\n {self.DENY}", "errorfile 503 /b\n http-request deny deny_status 503", files
        )
        self.assertTrue(self.answers(world, get("/no")).endswith(b"\r\n\r\nok"))
        self.assertTrue(self.answers(world, get("/")).endswith(b"\r\n\r\nbe"))

    def test_that_of_the_frontend_counts_where_the_backend_has_none(self) -> None:
        world = self.world("errorfile 503 /f", "http-request deny deny_status 503", {"/f": KEPT})
        self.assertTrue(self.answers(world, get("/")).endswith(b"\r\n\r\nok"))

    def test_a_status_without_a_page_has_the_proxys_own(self) -> None:
        world = self.world(f"errorfile 503 /f\n {self.DENY}", files={"/f": KEPT})
        self.assertEqual(self.answers(world, get("/403", "Connection: close")).lower(), ERRORS[403].lower())

    def test_what_is_unreadable_gets_the_frontends_page(self) -> None:
        """As HAProxy does since 2.8."""
        page = b"HTTP/1.0 400 Own\r\n\r\nbad"
        world = self.world("errorfile 400 /f", files={"/f": page})
        client = world.client()
        client.send(b"GET /\x01 HTTP/1.1\r\n\r\n")
        self.assertEqual(client.take(), page)
        self.assertEqual(world.flags(), [(400, "PR")])
        self.assertEqual(world.frontend.traffic.ereq, 1)

    def test_a_page_made_of_the_request_needs_one(self) -> None:
        """Without, the proxy's own is sent."""
        world = self.world("http-error status 400 content-type text/plain lf-string %[path]")
        self.assertEqual(self.answers(world, b"GET /\x01 HTTP/1.1\r\n\r\n"), ERRORS[400])

    def test_a_client_that_was_silent_gets_it_too(self) -> None:
        """And none at all of an empty file."""
        for file, told in ((b"HTTP/1.0 408 Own\r\n\r\nslow", b"HTTP/1.0 408 Own\r\n\r\nslow"), (b"", b"")):
            world = self.world("errorfile 408 /f", files={"/f": file})
            client = world.client()
            world.clock.advance(11.0)
            self.assertEqual(client.take(), told)


class ConnectionTests(Pages):
    """What becomes of the client's connection."""

    def test_it_goes_on_where_the_page_has_a_length(self) -> None:
        world = self.world("errorfile 403 /f\n http-request deny", files={"/f": KEPT})
        client = world.client()
        for _ in range(2):
            client.send(GET)
            self.assertEqual(client.take(), KEPT.replace(b"Content-Length", b"content-length"))
        self.assertFalse(client.gone)
        self.assertEqual(world.flags(), [(403, "PR"), (403, "PR")])

    def test_it_ends_with_a_page_that_says_so_or_has_no_length(self) -> None:
        for page in (KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"HTTP/1.1 503 Own\r\n\r\nok"):
            world = self.world("errorfile 403 /f\n http-request deny", files={"/f": page})
            client = world.client()
            client.send(GET * 2)
            answered = client.take()
            self.assertEqual(answered.count(b"HTTP/1.1"), 1)
            self.assertIn(b"\r\nconnection: close\r\n\r\n", answered)
            self.assertEqual(world.flags(), [(403, "PR")])

    def test_an_empty_page_closes_without_a_word(self) -> None:
        world = self.world("errorfile 403 /f\n http-request deny", files={"/f": b""})
        client = world.client()
        client.send(GET)
        self.assertEqual(client.take(), b"")
        self.assertIsNotNone(client.wire.end)
        self.assertEqual(world.flags(), [(403, "PR")])

    def test_a_failed_server_is_answered_for_with_the_page(self) -> None:
        world = self.world("errorfile 503 /f\n http-after-response set-header X-After 1", files={"/f": KEPT})
        world.backend.settings = world.backend.settings
        client = world.client()
        client.send(GET)
        for _ in range(4):
            world.server.refuse()
            world.clock.advance(1.0)
        answered = client.take()
        self.assertEqual(answered, b"HTTP/1.1 503 Own\r\ncontent-length: 2\r\nX-After: 1\r\n\r\nok")
        self.assertFalse(client.gone)


class ReplyTests(Pages):
    """The same words in `return` and `deny`."""

    def test_files_are_bodies_and_whole_answers(self) -> None:
        files = {"/page": b"\xff\x00page", "/format": b"%[path] is 100%%\n", "/whole": KEPT, "/none": b""}
        for words, told in (
            (
                "return content-type a/b file /page hdr X-A %[path]",
                b"X-A: /\r\ncontent-length: 6\r\ncontent-type: a/b\r\n\r\n\xff\x00page",
            ),
            (
                "return status 404 content-type a/b lf-file /format",
                b"404 Not Found\r\ncontent-length: 10\r\ncontent-type: a/b\r\n\r\n/ is 100%\n",
            ),
            ("return file /none", b"200 OK\r\ncontent-length: 0\r\n\r\n"),
            ("return errorfile /whole", b"503 Own\r\ncontent-length: 2\r\n\r\nok"),
            ("deny status 503 default-errorfiles", b"No server is available to handle this request.\n</body></html>\n"),
            ("deny status 418", b"418 I'm a teapot\r\ncontent-length: 0\r\n\r\n"),
            ("deny hdr X-A b", b"403 Forbidden\r\nX-A: b\r\ncontent-length: 0\r\n\r\n"),
        ):  # fmt: skip
            world = self.world(f"http-request {words}", files=files)
            self.assertTrue(self.answers(world, GET).endswith(told), (words, self.answers(world, GET)))

    def test_an_answer_of_a_server_is_replaced_by_a_file(self) -> None:
        world = self.world("http-response return errorfile /whole", files={"/whole": KEPT}, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        self.assertTrue(client.take().endswith(b"\r\n\r\nok"))
        world.check_rest()


def faults(lines: str, before: str = "") -> list[str]:
    text = f"{DEFAULTS}{before}frontend fe\n bind :80\n {lines}\n default_backend be\nbackend be\n server s1 h:1\n"
    try:
        read_configuration([Source("t.cfg", text)], {})
    except ConfigurationError as error:
        return [fault.text for fault in error.faults]
    return []


def warnings(lines: str, before: str = "") -> list[str]:
    text = f"{DEFAULTS}{before}frontend fe\n bind :80\n {lines}\n default_backend be\nbackend be\n server s1 h:1\n"
    return [each.text for each in read_configuration([Source("t.cfg", text)], {}).notices if each.level == "warning"]


class LineTests(SynchronousTestCase):
    SITE = "http-errors site\n errorfile 503 /f\n"

    def test_each_wrong_line_says_why(self) -> None:
        for lines, why in (
            ("errorfile 503", "'errorfile' needs a file: write 'errorfile <status> <file>'"),
            ("errorfile", "'errorfile' needs a status: write 'errorfile <status> <file>'"),
            ("errorfile 503 /a b", "'errorfile' does not take another argument: 'b'"),
            ("errorfile 999 /a", "'errorfile': there is no page for status '999', only for 200, 400"),
            ("errorloc303 418 /a", "'errorloc303': there is no page for status '418'"),
            ("errorloc 503 'http://a/ b'", "has a character that cannot stand in a URL"),
            ("errorfiles", "'errorfiles' needs the name of an 'http-errors' section"),
            ("errorfiles sight", "there is no section 'http-errors sight': did you mean 'site'?"),
            ("errorfiles site 999", "there is no page for status '999'"),
            ("http-error", "'http-error' needs 'status' and one of 200"),
            ("http-error status 418", "'http-error' needs 'status' and one of 200"),
            ("http-error status 503 errorfiles none", "there is no section 'http-errors none'"),
            ("http-error status 503 deny_status 403", "unknown word 'deny_status'"),
            ("http-error status 503 string x", "a text needs its 'content-type'"),
            ("http-error status 503 content-type a lf-string %[nosuch]", "unknown sample fetch 'nosuch'"),
            ("http-error status 503 content-type a lf-string %[res.hdr(x)]", "needs a response"),
            ("http-error status 503 errorfile /a errorfile /b", "'errorfile' stands already before 'errorfile'"),
            ("http-error status 503 if TRUE", "unknown word 'if'"),
            ("no errorfile 503 /a", "'no' stands before 'option' and 'log' only"),
        ):
            found = faults(lines, self.SITE)
            self.assertEqual(len(found), 1, (lines, found))
            self.assertIn(why, found[0], lines)

    def test_each_wrong_section_says_why(self) -> None:
        for before, why in (
            ("http-errors\n", "'http-errors' needs a name"),
            ("http-errors a/b\n", "the name 'a/b' has a character"),
            (self.SITE + self.SITE, "'http-errors site' stands already at t.cfg:6"),
            ("http-errors a\n errorloc 503 /x\n", "unknown keyword 'errorloc' in section 'http-errors'"),
            ("http-errors a\n errorfile 418 /x\n", "there is no page for status '418'"),
        ):
            found = faults("", before)
            self.assertEqual(len(found), 1, (before, found))
            self.assertIn(why, found[0], before)

    def test_what_counts_for_nothing_is_warned_of(self) -> None:
        for lines, why in (
            ("errorfiles site 404", "'http-errors site' has no file for status 404"),
            ("http-request deny errorfiles site if TRUE", "'http-errors site' has no file for status 403"),
            ("http-error status 503 errorfile /a hdr A b", "'hdr' does nothing beside 'errorfile'"),
            ("http-error status 503 errorfile /a content-type a", "'content-type' does nothing beside 'errorfile'"),
        ):
            found = warnings(lines, self.SITE)
            self.assertEqual(len(found), 1, (lines, found))
            self.assertIn(why, found[0], lines)

    def test_later_lines_count_and_those_of_defaults_come_first(self) -> None:
        text = (
            "defaults\n mode http\n errorfile 503 /default\n errorfile 502 /default\n timeout connect 1s\n"
            " timeout client 1s\n timeout server 1s\n"
            f"{self.SITE} errorfile 504 /504\n"
            "frontend fe\n bind :80\n errorloc 503 /x\n errorfiles site\n errorfile 504 /mine\n"
        )
        (fe,) = read_configuration([Source("t.cfg", text)], {}).frontends.values()
        self.assertEqual(
            [(each.status, getattr(each.source, "path", "")) for each in fe.errors],
            [(502, "/default"), (503, "/f"), (504, "/mine")],
        )


class FileTests(SynchronousTestCase):
    """Faults of files are those of the lines that name them."""

    def test_a_reload_reads_them_again_and_a_look_at_files_of_tls_does_not(self) -> None:
        """An operator may be in the middle of editing them."""
        directory = temporary_directory(self)
        page, file = directory / "page", directory / "proxy.cfg"
        page.write_bytes(KEPT)
        file.write_text(f"{DEFAULTS}frontend f\n bind {LOOPBACK}:0\n errorfile 503 {page}\n")
        service = ProxyService(Clock(), [str(file)])
        first = service.assemble(bind=False)
        page.write_bytes(b"in the middle")
        arguments = (service._reactor, service._poller, Random(1), service.announce, first)
        again = Assembly(first.configuration, *arguments).build(bind=False)
        self.assertEqual(again.frontends[0].errors, first.frontends[0].errors)
        with self.assertRaisesRegex(AssemblyError, "it has no complete head"):
            Assembly(load([str(file)]), *arguments).build(bind=False)

    def test_each_says_line_and_file(self) -> None:
        directory = temporary_directory(self)
        for name, data in (
            ("large", KEPT + b"x" * 20000),
            ("bad", b"hello"),
            ("text", b"%[nosuch]"),
            ("bytes", b"\xff"),
        ):
            (directory / name).write_bytes(data)
        for line, why in (
            (f"errorfile 503 {directory}/none", "cannot be read: No such file or directory"),
            (f"errorfile 503 {directory}", "cannot be read: Is a directory"),
            (f"errorfile 503 {directory}/large", "is larger than a buffer (tune.bufsize 16384)"),
            (f"errorfile 503 {directory}/bad", "bad: it has no complete head"),
            (f"http-error status 503 file {directory}/bad", "needs its 'content-type'"),
            (f"http-error status 503 content-type a lf-file {directory}/text", "unknown sample fetch 'nosuch'"),
            (f"http-error status 503 content-type a lf-file {directory}/bytes", "is no UTF-8 text"),
            ("errorfile 503 /dev/zero", "is larger than a buffer"),
        ):  # fmt: skip
            text = f"{DEFAULTS}frontend fe\n bind :80\n {line}\n default_backend be\nbackend be\n server s1 h:1\n"
            answers = Answers()
            answers.pages(read_configuration([Source("t.cfg", text)], {}).frontends["fe"].errors)
            (fault,) = answers.faults
            self.assertIsInstance(fault, Fault)
            self.assertEqual(fault.place, Place("t.cfg", 8), line)
            self.assertIn(why, fault.text, line)
