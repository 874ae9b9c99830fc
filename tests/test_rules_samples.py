"""Sample expressions: how they are read, and what they fetch."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules import haproxy_samples
from reusedproxy.config.rules import samples as sample_table
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.rules.samples.compile import CONVERTERS, Sample, compiled, compiled_all
from reusedproxy.rules.samples.fetches import ALL, FETCHES
from reusedproxy.wire.heads import Limits, read_request

HEAD = (
    b"GET / HTTP/1.1\r\nHost: App.Example:8443\r\nX-List: one, two,three\r\nX-List: four\r\n"
    b'X-Quoted: "a, b", c\r\nX-Empty:\r\n\r\n'
)


class Facts:
    """An exchange, as far as it matters."""

    head = read_request(HEAD, Limits())
    longest = Limits().buffer - 1


def fetched(text: str) -> Sample:
    facts: Any = Facts()
    return compiled(read_expression(text, "here"))(facts)


class FetchTests(SynchronousTestCase):
    """What comes out."""

    def test_the_table(self) -> None:
        """HAProxy's manual, 7.3.1 and 7.3.6, its examples among them."""
        for text, value in (
            ("str(abc)", b"abc"),
            ("str('a,b)')", b"a,b)"),
            ('str("a\\"b")', b'a"b'),
            ("req.hdr(host)", b"App.Example:8443"),
            ("hdr(HOST)", b"App.Example:8443"),
            ("req.hdr(host),lower", b"app.example:8443"),
            ("req.hdr(host),host_only,upper", b"APP.EXAMPLE"),
            ("req.hdr(host),port_only", 8443),
            ("req.hdr(host),field(1,:)", b"App.Example"),
            ("req.hdr(x-list)", b"four"),
            ("req.hdr(x-list,1)", b"one"),
            ("req.hdr(x-list,-2)", b"three"),
            ("req.hdr(x-list,5)", None),
            ("req.hdr(x-quoted,1)", b'"a, b"'),
            ("req.fhdr(x-list)", b"four"),
            ("req.fhdr(x-list,1)", b"one, two,three"),
            ("req.hdr(x-empty)", b""),
            ("req.hdr(absent)", None),
            ("req.hdr(absent),lower", None),
            ("str([::1]:80),host_only", b"[::1]"),
            ("str(a.test),port_only", 0),
            ("str(a:x),port_only", 0),
            ("str(a:-1),port_only", 0),
            ("str(a:80/),port_only", 80),
            ("str(::ffff:10.1.1.7),port_only", 10),
            ("str(f1_f2_f3__f5),field(5,_)", b"f5"),
            ("str(f1_f2_f3__f5),field(2,_,0)", b"f2_f3__f5"),
            ("str(f1_f2_f3__f5),field(2,_,2)", b"f2_f3"),
            ("str(f1_f2_f3__f5),field(-2,_,3)", b"f2_f3_"),
            ("str(f1_f2_f3__f5),field(-3,_,0)", b"f1_f2_f3"),
            ("str(f1_f2_f3__f5),field(6,_)", None),
            ("str(f1_f2_f3__f5),word(4,_)", b"f5"),
            ("str(f1_f2_f3__f5),word(2,_,0)", b"f2_f3__f5"),
            ("str(f1_f2_f3__f5),word(3,_,2)", b"f3__f5"),
            ("str(f1_f2_f3__f5),word(-2,_,3)", b"f1_f2_f3"),
            ("str(f1_f2_f3__f5),word(-3,_,0)", b"f1_f2"),
            ("str(/f1/f2/f3/f4),word(1,/)", b"f1"),
        ):
            self.assertEqual(fetched(text), value, text)

    def test_nothing_is_fetched_where_there_is_no_request(self) -> None:
        """A constant is one all the same."""

        class Nothing:
            head = None

        nothing: Any = Nothing()
        for text, value in (("req.hdr(host)", None), ("req.fhdr(host)", None), ("str(a)", b"a")):
            self.assertEqual(compiled(read_expression(text, "here"))(nothing), value)


#: Of which HAProxy's ACLs try every value (SMP_F_NOT_LAST in its src/).
EVERY = {
    *(f"{side}.{name}" for side in ("req", "res") for name in ("hdr", "fhdr", "hdr_ip", "hdr_val", "cook", "cook_val")),
    *("url_param", "urlp_val", "req.body_param", "req.ssl_alpn", "fc_pp_tlv"),
}


class EveryValueTests(SynchronousTestCase):
    """A condition looks at each value, or a client gets past it by a second one."""

    def test_all_of_haproxys_are_known(self) -> None:
        self.assertEqual(EVERY, ALL.keys())

    def test_every_field_of_a_form(self) -> None:
        facts: Any = Facts()
        facts.body = b"a=good&b=x;A=other&a=bad;a&=y&n=x\0bad"
        for text, values in (
            ("req.body_param(a)", [b"good", b"bad"]),
            ("req.body_param(a,i)", [b"good", b"other", b"bad"]),
            ("req.body_param", [b"good", b"x", b"other", b"bad", b"y", b"x\0bad"]),
            ("req.body_param(c)", []),
            ("req.body_param(a),upper", [b"GOOD", b"BAD"]),
            ("req.body_param(n),lower", [b"x\0bad"]),
            ("req.body_param(n),bytes(1),lower", [b"\0bad"]),
        ):
            every = compiled_all(read_expression(text, "here"))
            assert every is not None
            self.assertEqual([*every(facts)], values, text)
            self.assertEqual(compiled(read_expression(text, "here"))(facts), values[0] if values else None, text)


class ReadTests(SynchronousTestCase):
    """What the configuration may say."""

    def test_faults(self) -> None:
        """Each with what is wrong about it."""
        for text, why in (
            ("", "a sample fetch is missing"),
            ("req.hdr", "'req.hdr' takes 1 to 2 arguments, not 0"),
            ("req.hdr(a,b,c)", "'req.hdr' takes 1 to 2 arguments, not 3"),
            ("req.hdr(host,x)", "'req.hdr' takes a number in place 2, not 'x'"),
            ("str(a", "a ')' is missing"),
            ("str('a)", "a ''' is missing"),
            ("str(a)b", "'b' in the expression 'str(a)b' is too much"),
            ("str(a),", "a converter is missing"),
            ("str(a),lowr", "unknown converter 'lowr': did you mean 'lower'?"),
            ("str(a),lower(1)", "'lower' takes no arguments, not 1"),
            ("str(a),json(utf16)", "'json' reads ascii, utf8, utf8s, utf8p, utf8ps, not 'utf16'"),
            ("req.hdrr(a)", "unknown sample fetch 'req.hdrr': did you mean 'req.hdr'?"),
            (
                "fc_glitches",
                "'fc_glitches' is a HAProxy sample fetch that reusedproxy does not do yet: they are HTTP/2's",
            ),
            ("sc0_glitch_cnt", "that reusedproxy does not do yet"),
            ("ssl_fc_exporter_secret", "that reusedproxy does not do yet"),
            ("str(a),map_beg_key(f,0)", "'map_beg_key' takes 1 argument, not 2"),
            ("str(a),map_beg_int(f,x)", "gives a number, and 'x' is none"),
            ("str(a),map_ip(f,a,b)", "map_ip"),
            ("str(a),map_str_ip(f,a)", "gives an address, and 'a' is none"),
            ("str(a),hmac(sha256,?)", "takes a key in base64, or a variable"),
            ("str(a),capture-req", "'capture-req' takes 1 argument, not 0"),
            ("str(a),tcp.options.mss", "that reusedproxy does not do yet"),
            ("str(a),when(acl,x)", "'acl' is a HAProxy condition of 'when' that reusedproxy does not do yet"),
            ("str(a),when(!eror)", "did you mean 'error'?"),
            ("str(a),when(error,x)", "the condition 'error' takes no argument"),
            ("str(a),debug(x,buf1)", "where it writes is one of 'buf0', 'stdout', 'stderr', not 'buf1'"),
            ("str(a),protobuf(1.x)", "'1.x' is no path of field numbers"),
            ("str(a),ungrpc(0)", "'0' is no path of field numbers"),
            ("str(a),protobuf(1,int33)", "the type of a number is one of"),
            ("fc_pp_tlv(300)", "unknown extension '300'"),
            ("fc_pp_tlv(SSL_C)", "did you mean 'SSL_CN'?"),
        ):
            with self.assertRaises(Wrong, msg=text) as raised:
                read_expression(text, "here")
            self.assertIn(why, str(raised.exception), text)

    def test_it_is_shown_as_it_was_written(self) -> None:
        """In messages."""
        for text in ("req.hdr(host),field(1,:)", "req.hdr(host,1),lower"):
            self.assertEqual(str(read_expression(text, "here")), text)

    def test_reading_and_doing_know_the_same(self) -> None:
        """What may be written is done, and HAProxy knows it."""
        self.assertEqual(set(sample_table.FETCHES) - set(sample_table.BY_PLACE), set(FETCHES))
        self.assertEqual(set(sample_table.CONVERTERS), set(CONVERTERS))
        general = {re.sub(r"^sc[0-2]_", "sc_", name) for name in sample_table.FETCHES}
        self.assertEqual(general - haproxy_samples.FETCHES, sample_table.OURS)
        self.assertLessEqual(set(sample_table.SAME), haproxy_samples.FETCHES)
        self.assertLessEqual(set(sample_table.CONVERTERS), haproxy_samples.CONVERTERS)
