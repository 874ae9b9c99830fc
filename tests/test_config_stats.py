"""The `stats` lines of a section: what they say together, and what they do not inherit."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.model.proxies import Configuration, StatsPage
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.actions import Authenticate

BASE = " mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"


def read(lines: str, defaults: str = "", before: str = "") -> Configuration:
    text = f"{before}defaults\n{BASE}{defaults}\nlisten l\n bind :80\n{lines}\n server s h:1\n"
    return read_configuration([Source("t.cfg", text)], {})


def page(lines: str, defaults: str = "", before: str = "") -> StatsPage:
    found = read(lines, defaults, before).frontends["l"].stats
    assert found is not None
    return found


def faults(lines: str, defaults: str = "") -> list[str]:
    try:
        read(lines, defaults)
    except ConfigurationError as error:
        return [str(fault) for fault in error.faults]
    return []


class StatsLineTests(SynchronousTestCase):
    def test_a_name_and_a_password_are_a_rule(self) -> None:
        """The password may have a colon, and the realm is HAProxy's, by which browsers remember it."""
        configuration = read(" stats auth admin:a:b\n stats auth other:c")
        found = configuration.frontends["l"].stats
        assert found is not None
        (rule,) = found.rules
        self.assertEqual((rule.words, rule.action), ("stats auth", Authenticate("HAProxy Statistics")))
        (users,) = configuration.user_lists.values()
        self.assertEqual({user.name: user.password for user in users.users.values()}, {"admin": "a:b", "other": "c"})
        self.assertNotIn("a:b", repr(configuration))

    def test_the_rest(self) -> None:
        found = page(
            " stats uri /s\n stats refresh 5\n stats realm Mine\n stats show-version\n stats scope .\n stats scope l\n"
            " stats show-legends\n stats show-node here\n stats show-desc a b\n stats auth a:b"
        )
        self.assertEqual((found.uri, found.refresh, found.show_version), ("/s", 5.0, True))
        self.assertEqual((found.scope, found.legends, found.node, found.description), ((".", "l"), True, "here", "a b"))
        self.assertEqual(found.rules[0].action, Authenticate("Mine"))

    def test_node_and_description_of_the_global_section(self) -> None:
        configuration = read(" stats show-node\n stats show-desc", before="global\n node n1\n description the first\n")
        self.assertEqual((configuration.global_.node, configuration.global_.description), ("n1", "the first"))
        found = configuration.frontends["l"].stats
        assert found is not None
        self.assertEqual((found.node, found.description), ("", ""))

    def test_rules_and_conditions_see_all_lines_of_their_acls(self) -> None:
        lines = " acl a path /1\n stats http-request deny if a\n stats http-request allow\n stats admin if a\n"
        found = page(f"{lines} acl a path /2")
        self.assertEqual([rule.words for rule in found.rules], ["stats http-request deny", "stats http-request allow"])
        for condition in (found.rules[0].condition, found.admin[0]):
            assert condition is not None
            self.assertEqual([each.patterns for each in condition.alternatives[0][0].criteria], [("/1",), ("/2",)])

    def test_what_is_wrong_is_said(self) -> None:
        for lines, text in (
            ("stats auth admin", "'stats auth' needs a name, a colon and a password: stats auth NAME:PASSWORD"),
            (
                "stats auth admin S3CRET",
                "'stats auth' takes one word, a name, a colon and a password: stats auth NAME:PASSWORD",
            ),
            ("stats auth :b", "'stats auth' needs a name, a colon and a password: stats auth NAME:PASSWORD"),
            ("stats auth a:b\n stats auth a:c", "'stats auth': the user 'a' has a password already"),
            ("stats uri '/a b'", "'stats uri': '/a b' cannot stand in a request"),
            ("stats admin", "'stats admin' needs a condition:"),
            ("stats admin TRUE", "'stats admin' needs a condition:"),
            ("stats http-request set-header A b", "'stats http-request' takes 'allow', 'deny' and 'auth'"),
            ("stats http-request return", "'stats http-request' takes 'allow', 'deny' and 'auth'"),
            ("stats scope", "'stats scope' needs the name of a section, or . for this one"),
            ("stats realm", "'stats realm' needs a text (one word, or quoted)"),
            (
                "stats auth a:b\n stats http-request allow",
                "who may see the page, so this does not count:",
            ),
            ("stats admin if { http_auth_group(no) g }", "there is no userlist 'no'"),
        ):
            (fault,) = faults(f" {lines}")
            self.assertIn(text, fault)
        for word in ("admin if TRUE", "http-request deny"):
            (fault,) = faults("", f" stats {word}")
            self.assertIn("cannot stand in a 'defaults' section", fault)

    def test_the_password_is_in_no_message(self) -> None:
        self.assertNotIn("secret", "".join(faults(" stats auth a:b\n stats auth a:secret")))

    def test_own_lines_drop_what_is_inherited(self) -> None:
        """As in HAProxy, to the address; that is told of."""
        self.assertEqual(page("", " stats uri /d\n stats refresh 5s"), StatsPage("/d", 5.0))
        self.assertEqual(page("", " stats uri /d\n stats refresh 4100ms"), StatsPage("/d", 5.0))
        found = read(" stats show-version", " stats uri /d")
        self.assertEqual(found.frontends["l"].stats, StatsPage(show_version=True))
        (notice,) = [each for each in found.notices if "stats" in each.text]
        self.assertIn("'stats uri' at t.cfg:6 does not count in listen 'l'", notice.text)

    def test_no_page_is_opened_by_them(self) -> None:
        """HAProxy opens it without a word."""
        for closed in ("auth a:b", "scope ."):
            (fault,) = faults(" stats uri /x", f" stats {closed}")
            self.assertIn(f"'stats {closed.split()[0]}' at t.cfg:6 does not count in listen 'l'", fault)
            self.assertIn("the page would be open", fault)
        self.assertEqual(faults(" stats uri /x\n stats auth c:d", " stats auth a:b"), [])
        self.assertEqual(faults(" stats uri /x\n stats http-request deny", " stats auth a:b"), [])

    def test_all_sections_have_what_they_inherit(self) -> None:
        """With the password, each for itself."""
        configuration = read("", " stats auth a:b")
        found = configuration.frontends["l"].stats
        assert found is not None
        self.assertEqual(found.rules[0].words, "stats auth")
        self.assertEqual(found, configuration.backends["l"].stats)
