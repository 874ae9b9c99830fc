"""`resolvers` sections, `server-template` lines, and what servers say about their names."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.names import Holds, Resolution, Resolvers
from reusedproxy.config.reader import Source, read_configuration
from tests.test_config_servers import HEAD, faults, notices, read, server

DNS = "resolvers dns\n nameserver a 192.0.2.53:53\n"


def section(lines: str) -> Resolvers:
    """The section of these lines."""
    text = "resolvers dns\n" + "".join(f" {line}\n" for line in lines.split("\n"))
    return read_configuration([Source("t.cfg", text)], {}).resolvers["dns"]


def wrong(lines: str) -> str:
    """What is wrong with the lines of a section."""
    return "; ".join(faults("", "resolvers dns\n" + "".join(f" {line}\n" for line in lines.split("\n"))))


class SectionTests(SynchronousTestCase):
    """`resolvers <name>`."""

    def test_it_has_haproxys_defaults(self) -> None:
        """Of 2.6: 30 s for what fails, 10 s for what is valid, 0 for what is obsolete; a second, three times, 512."""
        made = section("")
        self.assertEqual(made.holds, Holds(nx=30, refused=30, timeout=30, other=30, valid=10, obsolete=0))
        self.assertEqual((made.resolve, made.retry, made.retries, made.payload), (1.0, 1.0, 3, 512))
        self.assertEqual((made.nameservers, made.resolv_conf), ((), None))

    def test_every_word_is_read(self) -> None:
        made = section(
            "nameserver a 192.0.2.53:53\nnameserver b tcp@[2001:db8::53]:5353\nnameserver c udp@dns.test:53\n"
            "parse-resolv-conf\nhold nx 1s\nhold other 2s\nhold refused 3s\nhold timeout 4s\nhold valid 5s\n"
            "hold obsolete 6000\ntimeout resolve 7s\ntimeout retry 800ms\nresolve_retries 9\naccepted_payload_size 4096"
        )
        servers = [(each.name, each.host, each.port, each.stream) for each in made.nameservers]
        expected = [("a", "192.0.2.53", 53, False), ("b", "2001:db8::53", 5353, True), ("c", "dns.test", 53, False)]
        self.assertEqual(servers, expected)
        self.assertEqual(made.holds, Holds(1, 3, 4, 2, 5, 6))
        self.assertEqual((made.resolve, made.retry, made.retries, made.payload), (7.0, 0.8, 9, 4096))
        self.assertIsNotNone(made.resolv_conf)

    def test_what_haproxy_refuses_is_refused(self) -> None:
        for lines, text in (
            ("nameserver a", "'nameserver' needs a name and an address: nameserver dns1 192.0.2.53:53, say"),
            ("nameserver a 192.0.2.53", "nameserver 'a': the port is missing in '192.0.2.53': write '192.0.2.53:53'"),
            ("nameserver a tcp@192.0.2.53", "nameserver 'a': the port is missing in 'tcp@192.0.2.53'"),
            ("nameserver a/b 192.0.2.53:53", "nameserver 'a/b': a name has only letters"),
            ("nameserver a 192.0.2.53:53-55", "nameserver 'a': a name server has one port"),
            ("nameserver a unix@/dns", "nameserver 'a': a name server is asked over UDP, or over TCP with 'tcp@'"),
            ("nameserver a upd@192.0.2.53:53", "unknown address prefix 'upd@': did you mean 'udp'?"),
            ("nameserver a *:53", "'*' in '*:53' is not the address of a name server"),
            ("nameserver a 192.0.2.53:53\nnameserver a 192.0.2.54:53", "nameserver 'a' stands already at t.cfg:2"),
            ("hold", "'hold' needs a kind of answer"),
            ("hold nx", "'hold' needs a kind of answer"),
            ("hold nxx 1s", "'hold' is one of 'nx', 'refused', 'timeout', 'other', 'valid', 'obsolete', not 'nxx'"),
            ("hold nx abc", "'hold nx' needs a time"),
            ("timeout", "'timeout' needs 'resolve' or 'retry' and a time"),
            ("timeout connect 1s", "'timeout' in section 'resolvers' is one of 'resolve', 'retry', not 'connect'"),
            ("timeout retry", "'timeout' needs"),
            ("timeout retry 0", "'timeout retry 0' is too short"),
            ("resolve_retries", "'resolve_retries' needs a number"),
            (
                "accepted_payload_size 65536",
                "'accepted_payload_size': 65536 is out of range: it has to be between 12 and 65535",
            ),
            ("accepted_payload_size abc", "'accepted_payload_size' needs a whole number"),
            ("parse-resolve-conf", "unknown keyword 'parse-resolve-conf' in section 'resolvers': did you mean"),
            ("no parse-resolv-conf", "'no' cannot stand before 'parse-resolv-conf' in section 'resolvers'"),
            ("server a b:1", "unknown keyword 'server' in section 'resolvers': it belongs in a 'defaults'"),
        ):
            self.assertIn(text, wrong(lines), lines)

    def test_what_haproxy_ignores_is_refused_where_it_was_meant(self) -> None:
        for lines, text in (
            (
                "nameserver a 192.0.2.53:53 maxconn 1",
                "'maxconn' means nothing for a name server that is asked over UDP",
            ),
            (
                "nameserver a tcp@192.0.2.53:53 ssl",
                "'ssl' is a HAProxy word of a name server that reusedproxy does not",
            ),
            ("hold nx 1s 2s", "'hold nx' takes one time: '2s' is too much"),
            ("resolve_retries abc", "'resolve_retries' needs a whole number"),
        ):
            self.assertIn(text, wrong(lines), lines)

    def test_a_section_has_a_name_of_its_own(self) -> None:
        self.assertEqual(
            faults("", "resolvers\n nameserver\n"),
            ["'resolvers' needs a name", *faults("", "resolvers a\n nameserver\n")],
        )
        self.assertEqual(faults("", "resolvers a\nresolvers a\n"), ["resolvers 'a' stands already at t.cfg:1"])
        self.assertIn("has a character that cannot stand in a name", faults("", "resolvers a/b\n")[0])

    def test_a_section_that_asks_nobody_is_said(self) -> None:
        """If a server needs it."""
        empty = "resolvers dns\n" + HEAD
        made = read(" server a app.test:1 resolvers dns", empty)
        self.assertIn("there is nobody to ask", made.notices[0].text)
        self.assertEqual(read(" server a app.test:1", empty).notices, ())


class WordTests(SynchronousTestCase):
    """What a `server` line says about its name."""

    def resolution(self, words: str) -> Resolution:
        (made,) = read(f" server a app.test:443 {words}", DNS + HEAD).backends["b"].servers
        return made.resolution

    def test_every_word_is_read(self) -> None:
        words = (
            "resolvers dns resolve-prefer ipv4 resolve-net 10.0.0.0/8,2001:db8::1/32"
            " resolve-opts allow-dup-ip,ignore-weight init-addr last,libc,192.0.2.1,none"
        )
        expected = Resolution(
            "dns", "ipv4", ("10.0.0.0/8", "2001:db8::/32"), True, True, ("last", "libc", "192.0.2.1", "none")
        )
        self.assertEqual(self.resolution(words), expected)
        self.assertFalse(self.resolution("resolve-opts allow-dup-ip,prevent-dup-ip").duplicates)

    def test_a_default_server_hands_them_on(self) -> None:
        lines = " default-server resolvers dns init-addr none resolve-opts allow-dup-ip\n"
        lines += " server a app.test:1 init-addr libc"
        (made,) = read(lines, DNS + HEAD).backends["b"].servers
        self.assertEqual(made.resolution, Resolution("dns", duplicates=True, init=("libc",)))

    def test_there_is_no_word_for_all_servers_but_their_defaults(self) -> None:
        """HAProxy has no `default_resolvers`."""
        hint = "HAProxy has no such word either: write 'default-server resolvers dns'"
        self.assertIn(hint, faults(" default_resolvers dns", DNS + HEAD)[0])
        self.assertIn(hint, faults("", "global\n default-resolvers dns\n")[0])

    def test_what_is_tried_first(self) -> None:
        """As HAProxy does: without `resolvers` a name that cannot be resolved is an error, with them it is not."""
        self.assertEqual(self.resolution("").methods, ("last", "libc"))
        self.assertEqual(self.resolution("resolvers dns").methods, ("last", "libc", "none"))
        self.assertEqual(self.resolution("resolvers dns init-addr libc").methods, ("libc",))

    def test_what_haproxy_refuses_is_refused(self) -> None:
        for words, text in (
            ("init-addr foo", "'init-addr' takes 'last', 'libc', 'none' and an IP address, not 'foo'"),
            ("init-addr libcc", "did you mean 'libc'?"),
            ("init-addr 192.0.2.1,192.0.2.2", "there is one address at most: '192.0.2.1' stands before '192.0.2.2'"),
            ("init-addr " + ",".join(["none"] * 11), "10 words at most"),
            ("init-addr none,,libc", "a word is missing in 'none,,libc'"),
            ("resolve-prefer ipv5", "'resolve-prefer' is one of 'ipv4', 'ipv6', not 'ipv5'"),
            (
                "resolve-opts foo",
                "'resolve-opts' is one of 'allow-dup-ip', 'ignore-weight', 'prevent-dup-ip', not 'foo'",
            ),
            ("resolve-net foo", "'resolve-net' takes networks such as 10.0.0.0/8 or 2001:db8::/32, not 'foo'"),
            ("resolve-net fe80::%1/64", "or 2001:db8::/32, not 'fe80::%1/64'"),
            ("resolve-net " + ",".join(["10.0.0.1"] * 6), "5 networks at most"),
            ("resolvers dnz", "there is no 'resolvers dnz': did you mean 'dns'?"),
        ):
            self.assertIn(text, "; ".join(faults(f" server a app.test:1 {words}", DNS + HEAD)), words)

    def test_the_section_default_is_there_without_a_line(self) -> None:
        """With the name servers of /etc/resolv.conf, as in HAProxy; one that is written takes its place."""
        made = read(" server a app.test:1 resolvers default")
        self.assertIsNotNone(made.resolvers["default"].resolv_conf)
        self.assertEqual(read(" server a app.test:1").resolvers, {})
        written = read(
            " server a app.test:1 resolvers default", "resolvers default\n nameserver a 192.0.2.53:53\n" + HEAD
        )
        self.assertIsNone(written.resolvers["default"].resolv_conf)

    def test_a_name_of_services_needs_no_port(self) -> None:
        """But a name server."""
        (made,) = read(" server a _http._tcp.app.test resolvers dns", DNS + HEAD).backends["b"].servers
        self.assertEqual((made.host, made.port), ("_http._tcp.app.test", None))
        text = "which only a name server knows: add 'resolvers <name>'"
        self.assertIn(text, faults(" server a _http._tcp.app.test")[0])

    def test_what_does_nothing_is_said(self) -> None:
        text = "server 'a': 'resolve-net' does nothing without 'resolvers': the name is resolved at the start"
        (notice,) = notices(" server a app.test:1 resolve-net 10.0.0.0/8")
        self.assertEqual(notice[0], "warning")
        self.assertIn(text, notice[1])

    def test_a_literal_address_takes_them_all(self) -> None:
        """As in HAProxy, where a `default-server` line may have them."""
        made = server("resolve-prefer ipv4 init-addr none resolvers default")
        self.assertEqual(made.host, "192.0.2.1")

    def test_families_of_addresses(self) -> None:
        """`dns-accept-family` of the global section, as in HAProxy 3.3."""
        for line, expected in (("", ("auto",)), (" dns-accept-family ipv4,ipv6\n", ("ipv4", "ipv6"))):
            made = read_configuration([Source("t.cfg", "global\n" + line)], {})
            self.assertEqual(made.global_.accepted_families, expected)
        self.assertIn("not 'ipv5'", faults("", "global\n dns-accept-family ipv5\n")[0])


class TemplateTests(SynchronousTestCase):
    """`server-template <prefix> <number or range> <name>[:<port>] …`."""

    def servers(self, line: str) -> Any:
        return read(f" server-template {line}", DNS + HEAD).backends["b"].servers

    def test_it_makes_servers_that_differ_in_their_names(self) -> None:
        made = self.servers("web 3 app.test:80 weight 5 resolvers dns")
        self.assertEqual([each.name for each in made], ["web1", "web2", "web3"])
        self.assertEqual({(each.host, each.port, each.weight) for each in made}, {("app.test", 80, 5)})
        self.assertEqual([each.name for each in self.servers("web 7-9 192.0.2.1:80")], ["web7", "web8", "web9"])

    def test_what_haproxy_refuses_is_refused(self) -> None:
        for line, text in (
            ("web", "'server-template' needs a prefix, a number of servers and an address"),
            ("web 3", "'server-template' needs a prefix"),
            *(
                (f"web {count} app.test:80", f"'{count}' is not the number of its servers")
                for count in ["0", "3-1", "x", "-1", "1-", "1-2-3"]
            ),
            ("web 100000 app.test:80", "more than 10000 servers"),
            ("w/ 3 app.test:80", "a name has only letters"),
            ("web 3 app.test:80 wieght 3", "unknown word 'wieght'"),
        ):
            self.assertIn(text, "; ".join(faults(f" server-template {line}")), line)

    def test_names_are_not_used_twice(self) -> None:
        self.assertEqual(
            faults(" server web2 192.0.2.1:80\n server-template web 3 app.test:80"),
            ["server 'web2' stands already at t.cfg:7: give each server of a backend its own name"],
        )

    def test_it_belongs_where_servers_do(self) -> None:
        self.assertIn(
            "servers belong in a 'backend'", faults("", "frontend f\n mode http\n server-template a 2 h:1\n")[0]
        )
        self.assertIn("cannot stand in a 'defaults'", faults("", "defaults\n server-template a 2 h:1\n")[0])

    def test_what_is_wrong_with_all_is_said_once(self) -> None:
        (notice,) = notices(" balance first\n server-template web 9 app.test:80 verify none crt /c.pem")
        self.assertIn("server-template 'web' has 'crt' but no 'ssl'", notice[1])
        name = "'req.hdr(host),regsub(\"(?=x)y\",z)'"
        line = f" balance first\n server-template web 9 app.test:80 ssl verify none sni {name}"
        said = [text for _, text in notices(line) if "(?=x)y" in text]
        self.assertEqual(len(said), 1, said)
        self.assertTrue(said[0].startswith("server-template 'web': "), said)

    def test_faults_name_the_template_and_none_of_its_servers(self) -> None:
        for words, text in (
            ("app.test:80 check resolvers none", "server-template 'web': there is no 'resolvers none'"),
            ("app.test:80 inter x", "server-template 'web': 'inter'"),
            ("_http._tcp.app.test", "server-template 'web': '_http._tcp.app.test' begins with '_'"),
            ("check", "server-template 'web': the address is missing: 'server-template web 9 ADDRESS:PORT check …'"),
        ):
            (said,) = faults(f" balance first\n server-template web 9 {words}")
            self.assertIn(text, said)
