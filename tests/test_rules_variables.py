"""Conditions of `set-var`: what a real HAProxy 2.8 sets, and what it leaves."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.rule_set import RuleSet, run
from reusedproxy.rules.samples.casts import to_text
from tests.rulefakes import DEFAULTS, Seen

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n"
#: What the variable has, and what it is to get.
BEFORE = ("", "int(5)", "str(old)", "str()", "bool(true)", "method", "src")
VALUES = (
    *("int(3)", "int(9)", "int(5)", "str(new)", "str()", "bool(false)", "method", "src"),
    *("url_param(none)", "req.hdr(x-empty)"),
)
#: S where HAProxy 2.8.25 sets the variable: a column for each of the values, a group of them for each of `BEFORE`.
SET = {
    "ifexists": "---------- SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S",
    "ifnotexists": "SSSSSSSS-S ---------- ---------- ---------- ---------- ---------- ----------",
    "ifempty": "----S----S ----S----S ----S----S ----S----S ----S----S ----S----S ----S----S",
    "ifnotempty": "SSSS-SSS-- SSSS-SSS-- SSSS-SSS-- SSSS-SSS-- SSSS-SSS-- SSSS-SSS-- SSSS-SSS--",
    "ifset": "---------- SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S",
    "ifnotset": "SSSSSSSS-S ---------- ---------- ---------- ---------- ---------- ----------",
    "ifgt": "SSSSSSSS-S S--SSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S",
    "iflt": "SSSSSSSS-S -S-SSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S",
    "ifset,ifgt": "---------- S--SSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S",
    "ifnotempty,ifnotexists": "SSSS-SSS-- ---------- ---------- ---------- ---------- ---------- ----------",
    "ifexists,ifempty": "---------- ----S----S ----S----S ----S----S ----S----S ----S----S ----S----S",
    "ifgt,iflt": "SSSSSSSS-S ---SSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S SSSSSSSS-S",
}


def after(*rules: str) -> dict[str, Sample]:
    """The variables of a request once these rules have been run."""
    lines = "".join(f" http-request {rule}\n" for rule in rules)
    text = f"{DEFAULTS}frontend fe\n bind :80\n{lines} default_backend be\nbackend be\n server s1 h:1\n"
    facts = Seen(HEAD)
    run(RuleSet(read_configuration([Source("t.cfg", text)], {}).frontends["fe"].rules).compiled().request, facts)
    return dict(facts.variables)


class ConditionTests(SynchronousTestCase):
    def test_a_variable_is_set_where_all_conditions_are_met(self) -> None:
        """By the action; of the converter nothing comes where they are not. A value that is not there sets nothing."""
        for (conditions, row), (at, before) in product(SET.items(), enumerate(BEFORE)):
            first = [f"set-var(txn.a) {before}"] if before else []
            old = after(*first).get("txn.a")
            for value, expected in zip(VALUES, row.split(" ")[at], strict=True):
                new = after(f"set-var(txn.a) {value}").get("txn.a")
                wanted = new if expected == "S" else old
                found = after(*first, f"set-var(txn.a,{conditions}) {value}")
                self.assertEqual(found.get("txn.a"), wanted, (conditions, before, value))
                found = after(*first, f"set-var(txn.r) {value},set-var(txn.a,{conditions})")
                self.assertEqual("txn.r" in found, expected == "S", (conditions, before, value))
                self.assertEqual(to_text(found.get("txn.a")), to_text(wanted), (conditions, before, value))

    def test_formats_are_texts(self) -> None:
        for conditions, value, expected in (
            ("ifempty", "%[url_param(none)]", b""),
            ("ifempty", "x", b"old"),
            ("ifnotempty", "%[url_param(none)]", b"old"),
            ("ifnotset", "x", b"old"),
            ("ifset,ifnotempty", "%[method]", b"GET"),
        ):
            found = after("set-var(txn.a) str(old)", f"set-var-fmt(txn.a,{conditions}) {value}")
            self.assertEqual(found["txn.a"], expected, (conditions, value))

    def test_conditions_are_read_wherever_variables_are_set(self) -> None:
        """One that is not known is refused with the nearest that is; `unset-var` has none."""
        for line, texts in (
            ("tcp-request connection set-var(sess.a,ifnotset) src", ()),
            ("tcp-request session set-var-fmt(sess.a,ifset,ifnotempty) %[src]", ()),
            ("tcp-request content set-var(txn.a,ifexists) src", ()),
            ("http-request set-var(txn.a,ifnotset) src", ()),
            ("http-response set-var(res.a,ifgt) status", ()),
            ("http-after-response set-var(res.a,iflt) status", ()),
            ("option httpchk\n http-check set-var(check.a,ifnotset) int(1)", ()),
            ("use_backend l if { src,set-var(txn.a,ifset,ifnotempty,ifexists,ifgt) -m found }", ()),
            ("http-request set-var(txn.a,ifnotst) src", ("unknown condition 'ifnotst': did you mean 'ifnotset'?",)),
            ("http-request set-var(txn.a,) src", ("unknown condition ''",)),
            ("http-request set-var(txna,ifset) src", ("'txna' is no variable",)),
            ("http-request set-var(txn.b) src,set-var(txn.a,bogus)", ("'set-var': unknown condition 'bogus'",)),
            ("http-request unset-var(txn.a,ifset)", ("'ifset' is too much",)),
            ("option httpchk\n http-check set-var(check.a,ifst) int(1)", ("unknown condition 'ifst': did you mean",)),
            ("option httpchk\n http-check unset-var(check.a,ifset)", ("'ifset' is too much",)),
        ):
            text = f"{DEFAULTS}listen l\n bind :80\n {line}\n server s h:1\n"
            try:
                read_configuration([Source("t.cfg", text)], {})
                found = []
            except ConfigurationError as error:
                found = [fault.text for fault in error.faults]
            self.assertEqual(len(found), len(texts), (line, found))
            for said, wanted in zip(found, texts, strict=True):
                self.assertIn(wanted, said)
