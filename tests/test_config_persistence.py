"""What is read of `cookie`, `dynamic-cookie-key`, `force-persist`, `ignore-persist` and `option persist`, and what is
said of lines that do nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.model.persistence import Cookie, Persist
from reusedproxy.config.model.proxies import Backend
from tests.test_config_proxies import read


def backend(text: str) -> Backend:
    return read(f"backend b\n server a 192.0.2.1:80 cookie a\n{text}").backends["b"]


class CookieTests(SynchronousTestCase):
    """The `cookie` line."""

    def faults(self, text: str) -> list[str]:
        try:
            backend(text)
        except ConfigurationError as error:
            return [fault.text for fault in error.faults]
        return []

    def test_what_it_says(self) -> None:
        cases = {
            "SRV": Cookie("SRV"),
            "SRV insert": Cookie("SRV", "insert"),
            "SRV rewrite nocache": Cookie("SRV", "rewrite", nocache=True),
            "SRV indirect prefix preserve": Cookie("SRV", "prefix", indirect=True, preserve=True),
            "SRV insert postonly httponly secure dynamic": Cookie(
                "SRV", "insert", postonly=True, httponly=True, secure=True, dynamic=True
            ),
            "SRV insert domain .a.test domain b.test": Cookie("SRV", "insert", domains=(".a.test", "b.test")),
            "SRV insert maxidle 30 maxlife 100d": Cookie("SRV", "insert", maxidle=30, maxlife=8640000),
            "SRV insert maxidle 1500ms maxlife 0": Cookie("SRV", "insert", maxidle=2),
            'SRV insert attr SameSite=Lax attr "a b"': Cookie("SRV", "insert", attributes=("SameSite=Lax", "a b")),
        }
        for text, cookie in cases.items():
            self.assertEqual(backend(f"cookie {text}").cookie, cookie, text)

    def test_what_is_refused(self) -> None:
        """With a reason, and what to write instead where it is known."""
        cases = {
            "": "needs the name of a cookie",
            "a=b insert": "'=' cannot be in the name",
            '"a b" insert': "' ' cannot be in the name",
            "SRV inset": "unknown word 'inset': did you mean 'insert'?",
            "SRV insert rewrite": "'insert' and 'rewrite' exclude one another",
            "SRV rewrite indirect": "'rewrite' and 'indirect' exclude one another",
            "SRV prefix preserve": "'preserve' needs 'insert' or 'indirect'",
            "SRV insert maxidle": "'maxidle' needs a value",
            "SRV insert maxidle soon": "needs a time such as 30s",
            "SRV insert maxlife 99999999999": "is too long",
            "SRV insert domain a.test/": "'/' cannot be in a domain",
            'SRV insert attr "a;b"': "';' cannot be in an attribute",
        }
        for text, said in cases.items():
            (fault,) = self.faults(f"cookie {text}")
            self.assertIn(said, fault)

    def test_a_section_inherits_it_and_replaces_it_as_a_whole(self) -> None:
        text = "defaults\n mode http\n cookie A insert indirect maxidle 1m\n dynamic-cookie-key k\n option persist\n"
        both = read(text + "backend b\n cookie B\n no option persist\nbackend c\n").backends
        self.assertEqual((both["b"].cookie, both["b"].persist), (Cookie("B"), False))
        self.assertEqual(both["c"].cookie, Cookie("A", "insert", indirect=True, maxidle=60))
        self.assertEqual((both["c"].persist, both["c"].dynamic_cookie_key), (True, "k"))

    def test_a_servers_cookie(self) -> None:
        """`default-server` may have one, too."""
        text = "backend b\n cookie S insert\n default-server cookie x\n server a h:1\n server b h:2 cookie y\n"
        self.assertEqual([each.cookie for each in read(text).backends["b"].servers], ["x", "y"])
        (fault,) = self.faults('server c 192.0.2.1:80 cookie "a;b"')
        self.assertIn("server 'c': 'cookie': ';' cannot be in the value of a cookie", fault)

    def test_rules(self) -> None:
        """In their order, each with a condition, whose ACLs may grow behind them."""
        found = backend(
            "acl a path /x\n cookie S insert\n force-persist if a\n ignore-persist unless { src 192.0.2.1 }"
        )
        self.assertEqual([rule.action for rule in found.rules.persist], [Persist("force"), Persist("ignore")])
        for text, said in (
            ("force-persist", "needs 'if' or 'unless'"),
            ("ignore-persist always", "'always' is too much"),
            ("ignore-persist if nobody", "there is no acl 'nobody'"),
        ):
            (fault,) = self.faults(text)
            self.assertIn(said, fault)
        self.assertIn(
            "cannot stand in a 'defaults' section", self.faults("defaults d\n force-persist if { path / }")[0]
        )


class NoticeTests(SynchronousTestCase):
    """Lines that do nothing, which HAProxy takes in silence."""

    def notices(self, text: str) -> list[str]:
        return [each.text for each in read(text).notices if "'b'" in each.text or "server" in each.text]

    def test_what_does_nothing_is_said(self) -> None:
        server = " server a 192.0.2.1:80\n"
        cases = {
            f"{server} force-persist if {{ path / }}": "'force-persist' does nothing without a 'cookie' line",
            f"{server} option persist": "'option persist' does nothing without a 'cookie' line",
            f"{server} dynamic-cookie-key k": "'dynamic-cookie-key' does nothing without a 'cookie' line",
            " server a 192.0.2.1:80 cookie a": "nobody looks at its cookie",
            f"{server} cookie S prefix": "leads to no server, because none has a cookie",
            f"{server} cookie S insert": "each answer makes the client forget",
            f"{server}{server.replace('a', 'b', 1)} cookie S insert dynamic": "makes no cookies without",
            " server a h:1 cookie a\n cookie S prefix httponly": "'httponly' is about cookies that are inserted",
            " server a 192.0.2.1:80 cookie a\n cookie S domain a.test": "'insert' is missing",
            " server a 192.0.2.1:80 cookie a\n cookie S insert\n dynamic-cookie-key k": "is used with 'dynamic' only",
        }
        for text, said in cases.items():
            self.assertTrue(any(said in each for each in self.notices(f"backend b\n{text}")), (text, said))

    def test_what_does_something_is_not(self) -> None:
        for text in (
            " server a 192.0.2.1:80 cookie a\n cookie S insert indirect nocache httponly\n option persist",
            " server a 192.0.2.1:80\n cookie S insert dynamic\n dynamic-cookie-key k\n force-persist if { path / }",
            " server a 192.0.2.1:80 cookie a\n server b 192.0.2.1:81 backup\n cookie S rewrite\n balance first",
        ):
            self.assertEqual(self.notices(f"backend b\n balance roundrobin\n{text}"), [], text)
