"""Words that are empty, and variables outside of double quotes: what HAProxy refuses, and what it expands."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.actions import EditHeader

ENVIRONMENT = {
    "HOST": "127.0.0.1",
    "PORT": "8081",
    "BOTH": "127.0.0.1:8081",
    "LIST": "127.0.0.1:1,127.0.0.1:2",
    "EMPTY": "",
}
TEXT = """\
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 60s
frontend fe
    bind 127.0.0.1:80
{frontend}
    default_backend be
backend be
    server s1 192.0.2.1:80
{backend}
"""


def read(frontend: str = "", backend: str = "") -> Configuration:
    text = TEXT.format(frontend=frontend, backend=backend)
    return read_configuration([Source("t.cfg", text)], ENVIRONMENT)


def faults(frontend: str = "", backend: str = "") -> list[str]:
    try:
        read(frontend, backend)
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


class EmptyWordTests(SynchronousTestCase):
    """An empty pattern would match everything: HAProxy 3.x refuses any empty argument, and 2.x ends the line there."""

    def test_a_variable_that_is_not_set_is_a_fault(self) -> None:
        """In patterns of every method, in rules and in conditions."""
        for line, argument in (
            ('acl a path_beg "$NONE"', "argument 3 of 'acl'"),
            ('acl a path_beg "$EMPTY" /b', "argument 3 of 'acl'"),
            ("acl a path_sub ''", "argument 3 of 'acl'"),
            ('acl a path_reg -i ""', "argument 4 of 'acl'"),
            ('http-request deny if { path_beg "${NONE}" }', "argument 5 of 'http-request'"),
            ('http-request deny unless { path_end "" }', "argument 5 of 'http-request'"),
            ('http-request deny if { path /x "$NONE" }', "argument 6 of 'http-request'"),
            ('http-request replace-path "$NONE" /y', "argument 2 of 'http-request'"),
            ('http-request del-header "$NONE" -m beg', "argument 2 of 'http-request'"),
            ('http-request set-header X "$NONE"', "argument 3 of 'http-request'"),
            ('tcp-request connection reject if { src "$NONE" }', "argument 6 of 'tcp-request'"),
            ('use_backend be if { path_beg "$NONE" }', "argument 5 of 'use_backend'"),
        ):
            (fault,) = faults(f"    {line}\n")
            why = ": the variable 'NONE' is not set" if "NONE" in line else ""
            what_it_does = "(HAProxy drops the rest of the line, and refuses it since 3.3)"
            self.assertIn(f"t.cfg:8: {argument} is empty{why} {what_it_does}", fault)
        (fault,) = faults('    "" x\n')
        self.assertIn("the first word is empty (HAProxy", fault)
        (fault,) = faults('    http-request set-path "$NONE$NONE2"\n')
        self.assertIn("argument 2 of 'http-request' is empty: the variables 'NONE' and 'NONE2' are not set", fault)

    def test_a_word_that_is_not_empty_as_a_whole_is_none(self) -> None:
        """As in HAProxy."""
        self.assertEqual(faults('    http-request deny if { path_beg "/x${NONE}" }\n    acl a str() -m str ok\n'), [])
        self.assertEqual(faults('    .if streq("$NONE","")\n    acl a path /x\n    .endif\n'), [])

    def test_the_head_of_a_section_is_one_all_the_same(self) -> None:
        """The lines below it are not the section's before."""
        text = TEXT.format(frontend="", backend='backend "$NONE"\n    balance roundrobin')
        with self.assertRaises(ConfigurationError) as raised:
            read_configuration([Source("t.cfg", text)], ENVIRONMENT)
        self.assertIn("argument 1 of 'backend' is empty", str(raised.exception).splitlines()[0])


class AddressTests(SynchronousTestCase):
    """HAProxy expands variables in addresses on its own, whatever quotes stand around them."""

    def test_binds_servers_and_logs(self) -> None:
        """With braces and without, in single quotes, and behind a backslash in double ones."""
        for word in (
            "$HOST:$PORT",
            "${HOST}:${PORT}",
            "$BOTH",
            "'$BOTH'",
            '"\\$BOTH"',
            '"$BOTH"',
            "ipv4@$BOTH",
            "${HOST:8081",
        ):
            said = read(f"    bind {word}\n", f"    server s2 {word} check addr $HOST\n    log $HOST local0\n")
            (address,) = [each.address for each in said.frontends["fe"].binds if each.place.line == 8]
            self.assertEqual((address.host, address.port), ("127.0.0.1", 8081), word)
            server = said.backends["be"].servers[1]
            self.assertEqual((server.host, server.port), ("127.0.0.1", 8081), word)

    def test_one_that_is_not_set_is_empty(self) -> None:
        """Which means every address to a bind, as there, and that of the client to a server."""
        (address,) = [
            each.address for each in read("    bind $NONE:8081\n").frontends["fe"].binds if each.place.line == 8
        ]
        self.assertEqual((address.host, address.port), ("", 8081))
        made = read("", "    server s2 $NONE:80\n")
        self.assertEqual(made.backends["be"].servers[-1].host, "0.0.0.0")
        said = "the variable 'NONE' is not set: 'server' has ':80' for its address"
        self.assertIn(said, [each.text for each in made.notices])

    def test_one_that_is_not_set_is_warned_of(self) -> None:
        """With what is listened on therefore; HAProxy says nothing."""
        everywhere = ", so that every address of this machine is listened on"
        for line, expected in (
            ('bind "${NONE}:8081"', f"the variable 'NONE' is not set: 'bind' has ':8081' for its address{everywhere}"),
            ("bind $NONE:8081", f"the variable 'NONE' is not set: 'bind' has ':8081' for its address{everywhere}"),
            ('bind "$NONE":8081', f"the variable 'NONE' is not set: 'bind' has ':8081' for its address{everywhere}"),
            ("bind '${NONE}':8081", f"the variable 'NONE' is not set: 'bind' has ':8081' for its address{everywhere}"),
            ("bind 127.0.0.1:8081,$NONE:8082", "has '127.0.0.1:8081,:8082' for its address" + everywhere),
            ('bind "ipv6@$NONE:8081"', f"'bind' has 'ipv6@:8081' for its address{everywhere}"),
            ('bind "127.0.0.1:${NONE}8081"', "'bind' has '127.0.0.1:8081' for its address"),
            ('bind "127.0.0.1:$A${B}8081"', "the variables 'A' and 'B' are not set"),
            ('log "127.0.0.1$NONE" local0', "the variable 'NONE' is not set: 'log' has '127.0.0.1' for its address"),
        ):
            (notice,) = read(f"    {line}\n").notices
            self.assertEqual((notice.level, notice.place.line), ("warning", 8))
            self.assertTrue(notice.text.endswith(expected) or notice.text.startswith(expected), (line, notice.text))
        for line in ('server s2 "127.0.0.1$NONE:80"', 'server s2 127.0.0.1:80 check addr "127.0.0.1$NONE"'):
            (notice,) = read("", f"    balance first\n    {line}\n").notices
            self.assertIn("the variable 'NONE' is not set: 'server' has '127.0.0.1", notice.text)
            self.assertNotIn("listened", notice.text)

    def test_one_that_has_a_default_is_not_warned_of(self) -> None:
        """Nor one that is set to nothing, nor what is no address."""
        for line in (
            'bind "${NONE-127.0.0.1}:8081"',
            'bind "${NONE-}:8081"',
            'bind "${EMPTY}:8081"',
            'bind "$HOST:8081" name "a$NONE"',
            'bind "127.0.0.1:8081${NONE[*]}"',
        ):
            self.assertEqual(read(f"    {line}\n").notices, (), line)

    def test_what_is_no_address(self) -> None:
        """A list is none; a backslash takes no dollar's meaning away."""
        for word, why in (
            ("$LIST", "'$LIST' holds a list"),
            ("\\$BOTH", "is not an address"),
            ("${NONE-127.0.0.1}:80", "is not an address"),
        ):
            self.assertIn(why, faults(f"    bind {word}\n")[0], word)

    def test_nothing_else_is_expanded(self) -> None:
        """A header's value keeps its dollar."""
        said = read("    http-request set-header X $HOST\n")
        (rule,) = said.frontends["fe"].rules.request
        assert isinstance(rule.action, EditHeader)
        self.assertEqual(rule.action.value.constant, "$HOST")
