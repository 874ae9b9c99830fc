"""`.if` and its companions: which lines count, and what is said of conditions that cannot be understood."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.conditions import evaluate
from reusedproxy.config.language.features import FEATURES, KNOWN_FEATURES, KNOWN_SWITCHES
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration

TRUE = [
    "1",
    "-1",
    "!0",
    "! ! 1",
    "defined(REUSEDPROXY)",
    "feature(OPENSSL)",
    "feature(SSL) && feature(PROMEX) && feature(PCRE2) && feature(ZLIB) && feature(LIBCRYPT) && feature(SYSTEMD)",
    "enabled(EPOLL) && enabled(REUSEPORT) && enabled(GETADDRINFO)",
    "!feature(THREAD) && !feature(LUA) && !feature(QUIC)",
    "streq(a,a)",
    "streq(a b,a b)",
    "streq(,)",
    "strstr(abc,b)",
    "strstr(abc,)",
    "openssl_version_atleast(1.1.1)",
    "openssl_version_atleast(3.5.0)",
    "openssl_version_atleast(3.5.0-beta1)",
    "openssl_version_before(3.5.0a)",
    "ssllib_name_startswith(OpenSSL)",
    "ssllib_name_startswith(OpenSSL) && openssl_version_atleast(1.1.1k)",
    "strneq(a,b)",
    "streq(\"a,b\",'a,b')",
    "version_atleast(2.6)",
    "version_atleast(3.3)",
    "version_atleast(3.3-dev5)",
    "version_before(3.3.1)",
    "version_before(3.4-dev1)",
    "0 && 0 || 1",
    "1 || 0 && 0",
    "(0 || 1) && (1)",
    "!(0)",
]
FALSE = [
    "",
    "  ",
    "0",
    "00",
    "!1",
    "defined(NOPE)",
    "feature(NOPE)",
    "version_atleast(3.4)",
    "version_before(3.3)",
    "1 && 0",
    "feature(QUIC) || feature(LUA)",
    "feature(openssl)",
    "enabled(SERVER-SSL-VERIFY-NONE)",
    "(1 || 1) && 0",
    "enabled(POLL)",
    "streq( a,a)",
    "strstr(abc,x)",
    "openssl_version_before(1.1.1)",
    "ssllib_name_startswith(openssl)",
    "ssllib_name_startswith(AWS-LC) && awslc_api_atleast(20)",
]
WRONG = [
    ("1 x", "at the end of the condition"),
    ("zork", "cannot be understood"),
    ("definde(X)", "did you mean 'defined'"),
    ("defined(X", "')' is missing"),
    ("(1", "')' is missing"),
    ("()", "cannot be understood"),
    ("1 ||", "cannot be understood"),
    ("streq(a)", "takes 2"),
    ("feature(A,B)", "takes 1"),
    ("version_atleast(new)", "not a version"),
    ("openssl_version_atleast(3)", "not a version of OpenSSL such as 3.0.0"),
    ("streq(a\\,b,c)", "takes 2"),
    ("fips_mode()", "does not do yet"),
    ("(" * 5000, "parentheses"),
]
ENVIRONMENT = {"REUSEDPROXY": "1"}
LIBRARY = "OpenSSL 3.5.0 8 Apr 2025"
#: What `haproxy -vv` of 2.8 and the Makefile of 3.5 list.
HAPROXY_FEATURES = """
    51DEGREES ACCEPT4 BACKTRACE CLOSEFROM CPU_AFFINITY CRYPT_H DEVICEATLAS DL ECH ENGINE EPOLL EVPORTS FCGI GETADDRINFO
    H2 KQUEUE KTLS LIBATOMIC LIBCRYPT LINUX_CAP LINUX_SPLICE LINUX_TPROXY LUA MATH MEMORY_PROFILING NETFILTER NS
    OBSOLETE_LINKER OPENSSL OPENSSL_AWSLC OPENSSL_WOLFSSL OT PCRE PCRE2 PCRE2_JIT PCRE_JIT POLL PRCTL PROCCTL PROMEX
    PTHREAD_EMULATION QUIC QUIC_OPENSSL_COMPAT RT SHM_OPEN SLZ SPOE SSL STATIC_PCRE STATIC_PCRE2 SYSTEMD TFO THREAD
    THREAD_DUMP TPROXY TRACE WURFL ZLIB
"""


def notices(text: str, **environ: str) -> list[str]:
    """The `.notice` and `.warning` messages of `text`."""
    return [notice.text for notice in read_configuration([Source("t.cfg", text)], environ).notices]


def faults(text: str) -> list[str]:
    """The faults of `text`, as lines."""
    try:
        read_configuration([Source("t.cfg", text)], {})
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


class ConditionTests(SynchronousTestCase):
    """A condition is true, false, or refused."""

    def test_conditions_that_hold(self) -> None:
        """We call ourselves 3.3, with OpenSSL, without threads, Lua and QUIC."""
        for condition in TRUE:
            self.assertTrue(evaluate(condition, ENVIRONMENT, LIBRARY), condition)

    def test_conditions_that_do_not_hold(self) -> None:
        """An empty condition is false."""
        for condition in FALSE:
            self.assertFalse(evaluate(condition, ENVIRONMENT, LIBRARY), condition)

    def test_a_condition_that_cannot_be_understood_says_where(self) -> None:
        """And a misspelt predicate is answered with the nearest one."""
        for condition, why in WRONG:
            self.assertIn(why, str(self.assertRaises(Wrong, evaluate, condition, ENVIRONMENT, LIBRARY)), condition)

    @settings(deadline=None)
    @given(st.text(alphabet="01!&|() ,\"'\\abdefinstrq_"))
    def test_any_condition_is_judged_or_refused(self, condition: str) -> None:
        """Nothing else comes out of the evaluator."""
        try:
            self.assertIsInstance(evaluate(condition, ENVIRONMENT, LIBRARY), bool)
        except Wrong as wrong:
            self.assertTrue(str(wrong))


class ConditionalBlockTests(SynchronousTestCase):
    """Blocks choose which lines count."""

    def test_the_first_branch_that_holds_is_read_and_no_other(self) -> None:
        """As in every language."""
        text = ".if {}\n.notice a\n.elif {}\n.notice b\n.elif {}\n.notice c\n.else\n.notice d\n.endif\n"
        for conditions, expected in [((1, 1, 1), "a"), ((0, 1, 1), "b"), ((0, 0, 1), "c"), ((0, 0, 0), "d")]:
            self.assertEqual(notices(text.format(*conditions)), [expected])

    def test_blocks_nest(self) -> None:
        """An inner block inside a branch that does not count is not judged, only counted."""
        text = ".if 0\n.if zork(\n.notice a\n.else\n.notice b\n.endif\n.else\n.if 1\n.notice c\n.endif\n.endif\n"
        self.assertEqual(notices(text), ["c"])

    def test_lines_in_a_branch_that_does_not_count_may_be_anything(self) -> None:
        """So that one file can hold what only another program understands."""
        self.assertEqual(notices('.if 0\nbogus "\n.foo\n.endif\n'), [])

    def test_one_file_serves_us_and_haproxy(self) -> None:
        """`.if defined(REUSEDPROXY)` holds here, and nowhere else."""
        self.assertEqual(notices(".if defined(REUSEDPROXY)\n.notice us\n.else\n.notice them\n.endif\n"), ["us"])

    def test_setenv_changes_what_later_lines_see(self) -> None:
        """The environment words of the global section take effect at once."""
        text = 'global\nsetenv A 1\npresetenv A 2\npresetenv B 3\n.notice "$A$B$C"\nunsetenv A\n.notice "<$A>"\n'
        self.assertEqual(notices(text, C="4"), ["134", "<>"])
        self.assertEqual(notices('global\nresetenv C\n.notice "$C$D"\n', C="4", D="5"), ["4"])

    def test_pseudo_variables_say_where_we_are(self) -> None:
        """`.FILE`, `.LINE` and `.SECTION`."""
        text = '.notice "${.FILE}:${.LINE}:${.SECTION}"\nglobal\n.notice "$.SECTION"\n'
        self.assertEqual(notices(text), ["t.cfg:1:", "global"])

    def test_an_alert_is_a_fault_and_diag_is_silent(self) -> None:
        """`.alert` keeps the daemon from starting."""
        self.assertEqual(faults('.diag "psst"\n.alert "not like this"\n'), ["t.cfg:2: not like this"])

    def test_unmatched_directives_are_faults(self) -> None:
        """Each with the line where it stands."""
        self.assertEqual(
            faults(".endif\n.else\n.elif 1\n.foo\n.if 1\n.else\n.else\n.elif 1\n"),
            [
                "t.cfg:1: '.endif' without an '.if' before it",
                "t.cfg:2: '.else' without an '.if' before it",
                "t.cfg:3: '.elif' without an '.if' before it",
                "t.cfg:4: unknown directive '.foo'",
                "t.cfg:5: this '.if' has no '.endif' in this file",
                "t.cfg:7: '.else' after '.else' (the '.if' is at t.cfg:5)",
                "t.cfg:8: '.elif' after '.else' (the '.if' is at t.cfg:5)",
            ],
        )

    def test_a_faulty_condition_has_no_followers(self) -> None:
        """Its `.endif` still belongs to it."""
        self.assertEqual(len(faults(".if zork\n.else\n.endif\n")), 1)


#: Blocks of which something is left out, and what is said of it: a warning or a notice, and where.
LEFT_OUT = (
    (
        ".if feature(LUA)\n http-request deny\n.endif\n",
        "warning",
        4,
        "line 5 is left out, as 'feature(LUA)' is false here",
    ),
    (".if !feature(LUA)\n.else\n http-request deny\n.endif\n", "notice", 5, "'feature(LUA)' is false here"),
    (".if version_before(3.0)\n acl a src ::1\n.endif\n", "warning", 4, "'version_before(3.0)' is false here: 'acl a'"),
    (".if enabled(SPLICE) && 1\n tcp-request content reject\n.endif\n", "warning", 4, "'enabled(SPLICE)' is false"),
    (".if feature(LUA)\n.elif version_atleast(9)\n redirect location /\n.endif\n", "warning", 5, "'version_atleast"),
    (".if feature(QUIC)\n .if 0\n http-request auth\n .endif\n.endif\n", "warning", 4, "lines 5 to 6 are"),
    (".if feature(LUA) || feature(QUIC)\n http-request deny\n.endif\n", "warning", 4, "' is false and 'feature(QUIC)'"),
    (".if feature(LUA)\n http-request deny\n.else\n http-request deny\n.endif\n", "notice", 4, "(line 5): to have"),
    (".if feature(LUA)\n" + " http-request deny\n" * 7 + ".endif\n", "warning", 4, "(line 9) and 2 more: to have"),
    (".if feature(LUA)\n http-request set-header X-User %[src]\n.endif\n", "warning", 4, "http-request set-header"),
    (".if feature(LUA)\n http-request lua.allowed\n.endif\n", "warning", 4, "'http-request lua.allowed'"),
    (".if feature(LUA)\n default-server ssl verify required\n.endif\n", "warning", 4, "'default-server … verify'"),
    (".if feature(LUA)\n stats auth a:S3CRET\n.endif\n", "warning", 4, "'stats auth' (line 5)"),
)
#: Blocks of which nothing is said: nobody is kept out there, or a variable decides, or whoever wrote the line.
NOTHING_LOST = (
    ".if feature(QUIC)\n http-response set-header alt-svc h3\n bind quic4@:1\n.endif\n",
    ".if feature(LUA)\n http-request set-log-level err\n tcp-request inspect-delay 5s\n # http-request deny\n.endif\n",
    ".if 0\n http-request deny\n.endif\n",
    ".if defined(NOPE)\n http-request deny\n.endif\n",
    ".if feature(LUA) && 0\n http-request deny\n.endif\n",
    ".if feature(LUA) || 1\n.else\n http-request deny\n.endif\n",
    ".if feature(LUA)\n.elif streq(a,b)\n http-request deny\n.endif\n",
    ".if feature(OPENSSL)\n http-request deny\n.endif\n",
    ".if feature(LUA)\nfrontend other\n http-request deny\n.endif\n",
    ".if !defined(REUSEDPROXY)\n .if feature(LUA)\n http-request deny\n .endif\n.endif\n",
)


class LeftOutTests(SynchronousTestCase):
    """No rule that keeps somebody out is left out without a word."""

    def said(self, block: str) -> list[tuple[str, int, str]]:
        text = f"defaults\n mode http\nfrontend f\n{block} bind :1\n redirect location /\n"
        found = read_configuration([Source("t.cfg", text)], {}).notices
        return [(each.level, each.place.line, each.text) for each in found if "left out" in each.text]

    def test_what_is_left_out_by_what_this_program_is_gets_a_word(self) -> None:
        """A warning; where another branch is in its place, a notice. No argument is quoted: it may be a secret."""
        for block, level, line, why in LEFT_OUT:
            said = self.said(block)
            self.assertEqual([each[:2] for each in said], [(level, line)], (block, said))
            self.assertIn(why, said[0][2], block)
            self.assertNotIn("S3CRET", said[0][2])

    def test_nothing_is_said_where_nothing_is_lost(self) -> None:
        for block in NOTHING_LOST:
            self.assertEqual(self.said(block), [], block)

    def test_a_rule_that_is_left_out_can_be_had(self) -> None:
        """As the warning says."""
        self.assertEqual(self.said(".if feature(LUA) || defined(REUSEDPROXY)\n http-request deny\n.endif\n"), [])

    def test_verification_that_the_file_has_taken_away_is_a_switch(self) -> None:
        """As the lines before say."""
        block = ".if enabled(SERVER-SSL-VERIFY-NONE)\n.notice none\n.endif\n"
        self.assertEqual(notices(f"global\n{block}ssl-server-verify none\n{block}"), ["none"])
        self.assertEqual(notices('.notice "$HAPROXY_BRANCH"\n'), ["3.3"])

    def test_every_name_of_haproxys_has_an_answer(self) -> None:
        """Each of its features, and of the switches that its manual names."""
        features = set(HAPROXY_FEATURES.split())
        self.assertEqual((features - KNOWN_FEATURES, FEATURES - KNOWN_FEATURES), (set(), set()))
        switches = "POLL EPOLL KQUEUE EVPORTS SPLICE GETADDRINFO REUSEPORT FAST-FORWARD SERVER-SSL-VERIFY-NONE"
        self.assertEqual(set(switches.split()), KNOWN_SWITCHES)
