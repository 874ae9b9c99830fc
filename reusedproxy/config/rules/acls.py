"""Parses ACLs and the conditions made of them (manual, sections 7.1, 7.2 and 7.4) into frozen values.

A condition that names an ACL is complete only when its whole section has been read, since a later `acl` line of that
name counts as well. Must never know what a condition is used for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, nearest, not_done
from reusedproxy.config.model.balance import UseServer
from reusedproxy.config.model.rules import Condition, Criterion, Rule, Term, UseBackend
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.expressions import ACL_METHODS, ACL_ONLY, read_expression, type_of
from reusedproxy.config.rules.haproxy_samples import FETCHES as HAPROXY_FETCHES
from reusedproxy.config.rules.patterns import ALL_UP_TO_0, DEFAULT, GROUP, METHODS, check_patterns, without_word
from reusedproxy.config.rules.samples import CASTS, FETCHES, SAME

_DERIVED = re.compile(rf"([A-Za-z0-9_.]+?)_({'|'.join(sorted(ACL_METHODS))})(?=[,(]|\Z)")
_CRITERIA = ACL_ONLY | FETCHES.keys() | HAPROXY_FETCHES
_NAME = re.compile(r"[A-Za-z0-9_.:-]+\Z")
#: A version in HAProxy's form (`req.ssl_ver`): 3.1 is TLS 1.0.
_VERSION = re.compile(r"\b([0-9]{1,3})\.([0-9]{1,3})\b")
_HAPROXY_FLAGS = {"-M": "load the file as a map", "-u": "an id", "-n": "no look-up of names"}

#: Predefined ACLs (manual, section 7.4).
PREDEFINED = {
    "FALSE": "always_false",
    "TRUE": "always_true",
    "HTTP": "req.proto_http",
    "HTTP_1.0": "req.ver 1.0",
    "HTTP_1.1": "req.ver 1.1",
    "HTTP_2.0": "req.ver 2.0",
    "HTTP_3.0": "req.ver 3.0",
    "HTTP_CONTENT": "req.hdr_val(content-length) gt 0",
    "HTTP_URL_ABS": "url_reg ^[^/:]*://",
    "HTTP_URL_SLASH": "url_beg /",
    "HTTP_URL_STAR": "url *",
    "LOCALHOST": "src 127.0.0.1/8 ::1",
    "RDP_COOKIE": "req.rdp_cookie_cnt gt 0",
    "REQ_CONTENT": "req.len gt 0",
    "WAIT_END": "wait_end",
    "METH_CONNECT": "method CONNECT",
    "METH_DELETE": "method DELETE",
    "METH_GET": "method GET HEAD",
    "METH_HEAD": "method HEAD",
    "METH_OPTIONS": "method OPTIONS",
    "METH_POST": "method POST",
    "METH_PUT": "method PUT",
    "METH_TRACE": "method TRACE",
}

#: Words of rules that let clients in, turn them away, or send them elsewhere; and rules of which each may.
_DECIDING = haproxy_words.words("accept allow auth close deny redirect reject return silent-drop tarpit")
_DECIDING_RULES = (["stats", "admin"], ["tcp-request", "connection"], ["tcp-request", "session"])

#: The ACLs of one section: all lines of each name. A predefined ACL is entered at its first use.
Acls = dict[str, list[Criterion]]


def read_acl(line: Line, report: Report) -> tuple[str, Criterion]:
    """Parses `acl NAME criterion [flags] [operator] [patterns]`. Raises Wrong."""
    if len(line.words) < 3:
        raise Wrong("'acl' needs a name and what it tests: acl is_static path_end .css .js, say")
    name = line.words[1]
    if _is_criterion(name) and not _is_criterion(line.words[2], nearly=True):
        raise Wrong(f"'acl': the name is missing: 'acl NAME {name} {line.words[2]} …'")
    if not _NAME.match(name):
        raise Wrong(
            f"'acl': the name '{name}' has a character that cannot stand in a name: letters, digits, - _ . : can"
        )
    if name.lower() == "or" or name in ("if", "unless"):
        raise Wrong(f"'acl': '{name}' cannot be a name: it has a meaning in conditions")
    return name, read_criterion(line.words[2:], line.place, f"acl '{name}'", report)


def _is_criterion(word: str, *, nearly: bool = False) -> bool:
    """Tells whether the word begins with the name of a criterion, implemented or not; with
    `nearly`, also a misspelled one."""
    name = re.split(r"[,(]", word, maxsplit=1)[0]
    return name in _CRITERIA or (nearly and name[:1].isalpha() and nearest(name, _CRITERIA) is not None)


def read_criterion(words: Sequence[str], place: Place, what: str, report: Report) -> Criterion:
    """Parses a sample, flags, and patterns. Raises Wrong."""
    text, method = words[0], ""
    derived = _DERIVED.match(text)
    if derived and derived[0] in ACL_ONLY:
        text, method = derived[1] + text[derived.end() :], derived[2]
    expression = read_expression(text, what, ACL_ONLY)
    given = type_of(expression)
    if method and expression.converters:
        text_of_method = (
            f"{what}: behind converters '_{method}' does not count, as in HAProxy, and the sample is compared"
        )
        report.warn(place, f"{text_of_method} as a whole unless '-m {method}' is written")
        method = ""
    rest = list(words[1:])
    files: list[str] = []
    ignore_case = ended = False
    cased_files = 0
    while rest and rest[0].startswith("-") and not ended and not re.match(r"-[0-9]", rest[0]):
        flag = rest.pop(0)
        if flag == "--":
            ended = True
        elif flag == "-i":
            ignore_case = True
        elif flag in ("-m", "-f"):
            if not rest:
                raise Wrong(f"{what}: '{flag}' needs {'a method' if flag == '-m' else 'a file'}")
            argument = rest.pop(0)
            if flag == "-f":
                files.append(argument)
                cased_files += not ignore_case
            elif files:
                raise Wrong(f"{what}: '-m' must stand before the files and patterns that are compared by it")
            else:
                method = _method(argument, what)
        elif flag == "-n":
            pass  # host names are never resolved
        elif flag in _HAPROXY_FLAGS:
            raise Wrong(f"{what}: {not_done(flag, 'flag')}")
        else:
            raise Wrong(f"{what}: unknown flag '{flag}': there are -i, -m, -f, -n and --")
    if not method and expression.fetch.name == "http_auth_group" and not expression.converters:
        method = GROUP
    method = method or DEFAULT.get(given, "")
    if not method:
        raise Wrong(f"{what}: '{text}' gives {given}, which has no usual way to be compared: add -m and a method")
    if method not in ("found", GROUP) and METHODS[method] not in CASTS[given]:
        raise Wrong(f"{what}: '-m {method}' cannot be used with '{text}', which gives {given}")
    if method == "int" and expression.fetch.name in ("req.ssl_ver", "req_ssl_ver") and not expression.converters:
        rest = [_VERSION.sub(_version_number, each) for each in rest]
    check_patterns(method, rest, what)
    if method == GROUP and not rest and not files:
        raise Wrong(f"{what}: '{text}' needs names of groups behind it")
    if not rest and not files and not ended and method not in ("bool", "found"):
        report.warn(
            place,
            f"{what}: there is nothing to compare '{words[0]}' with, so it is never true;"
            " '-m found' asks whether it is there",
        )
    if method in ("int", "len") and ALL_UP_TO_0 in rest:
        report.warn(
            place,
            f"{what}: behind an operator, or a number, '--' means all numbers up to 0, as in HAProxy: take it out, or"
            " write it before these to end the flags",
        )
    for pattern in without_word(method, rest):
        report.warn(
            place,
            f"{what}: '-m {method}' looks for what stands between delimiters, and '{pattern}' is nothing but"
            " delimiters, so it is never found; '-m beg', '-m end' or '-m sub' look for it as it is",
        )
    return Criterion(place, expression, method, tuple(rest), tuple(files), ignore_case, cased_files)


def _version_number(found: re.Match[str]) -> str:
    return str(int(found[1]) << 16 | int(found[2]))


def _method(word: str, what: str) -> str:
    if word not in METHODS:
        raise Wrong(f"{what}: unknown method '-m {word}'{did_you_mean(word, METHODS)}")
    return word


def split_condition(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the words before `if` or `unless`: returns those before it, and the condition from that word on."""
    for at, word in enumerate(words):
        if word in ("if", "unless"):
            return list(words[:at]), list(words[at:])
    return list(words), []


def read_condition(words: Sequence[str], acls: Acls, place: Place, what: str, report: Report) -> Condition | None:
    """Parses `if` or `unless` and the terms that follow; None without words. Raises Wrong."""
    if not words:
        return None
    rest = list(words[1:])
    if not rest:
        return _empty(words[0], place, what, report)
    alternatives: list[list[Term]] = [[]]
    while rest:
        word = rest.pop(0)
        if word.lower() == "or" or word == "||":
            if not alternatives[-1]:
                raise Wrong(f"{what}: nothing stands before '{word}'")
            alternatives.append([])
            continue
        negated = False
        while word.startswith("!"):
            negated, word = not negated, word[1:]
            if not word:
                if not rest:
                    raise Wrong(f"{what}: nothing stands after '!'")
                word = rest.pop(0)
        if word == "{":
            alternatives[-1].append(_anonymous(rest, negated, acls, place, what, report))
        else:
            alternatives[-1].append(_named(word, negated, acls, place, what, report))
    if not alternatives[-1]:
        raise Wrong(f"{what}: nothing stands after the last 'or'")
    return Condition(tuple(map(tuple, alternatives)), unless=words[0] == "unless")


def _empty(word: str, place: Place, what: str, report: Report) -> Condition:
    """Returns what `if`, or `unless`, with nothing behind it is to HAProxy: it is never met, or always. Raises Wrong
    where that would decide who is let in, or sent elsewhere: a rule that keeps somebody out must not be lost."""
    means = "it is never met" if word == "if" else "the line always counts"
    said = what.strip("'").split()
    if not _DECIDING.isdisjoint(said) or said[:2] in _DECIDING_RULES:
        raise Wrong(f"{what}: a condition is missing after '{word}' (to HAProxy that means that {means})")
    report.warn(place, f"{what}: nothing stands after '{word}', so {means}, as in HAProxy")
    never = read_criterion(PREDEFINED["FALSE"].split(), place, what, report)
    return Condition(((Term((never,)),),), unless=word == "unless")


def _anonymous(rest: list[str], negated: bool, acls: Acls, place: Place, what: str, report: Report) -> Term:
    """Parses an anonymous ACL, the criterion between braces, and removes it from the remaining words. Raises Wrong."""
    if "}" not in rest:
        raise Wrong(f"{what}: a '}}' is missing (the braces stand by themselves, with a blank on either side)")
    end = rest.index("}")
    criterion, rest[: end + 1] = rest[:end], []
    if not criterion:
        raise Wrong(f"{what}: nothing stands between the braces")
    if len(criterion) == 1 and criterion[0] in {*acls, *PREDEFINED} and not _is_criterion(criterion[0]):
        raise Wrong(f"{what}: '{criterion[0]}' is an acl, which stands without braces")
    return Term((read_criterion(criterion, place, f"{what}: in braces", report),), negated)


def _named(name: str, negated: bool, acls: Acls, place: Place, what: str, report: Report) -> Term:
    if name in acls:
        return Term((), negated, name)
    if name in PREDEFINED:
        # As in HAProxy, a later `acl` line of this name adds to it; an earlier one replaces it.
        acls[name] = [read_criterion(PREDEFINED[name].split(), place, name, report)]
        return Term((), negated, name)
    if name.startswith("{"):
        raise Wrong(f"{what}: '{name}': a brace stands by itself, with a blank on either side")
    hint = f": write {name.upper()}" if name.upper() in PREDEFINED else did_you_mean(name, {*acls, *PREDEFINED})
    if name in FETCHES or name in SAME or _DERIVED.match(name):
        hint = f": write it in braces, {{ {name} … }}"
    raise Wrong(f"{what}: there is no acl '{name}' before this line{hint}")


# Completion of conditions after the whole section has been read.


def resolved(rule: Rule, acls: Acls) -> Rule:
    """Returns the rule with all lines of the ACLs that it names; a condition that is complete
    already stays as it is."""
    return evolve(rule, condition=with_acls(rule.condition, acls)) if rule.condition is not None else rule


def resolved_backend(rule: UseBackend, acls: Acls) -> UseBackend:
    return evolve(rule, condition=with_acls(rule.condition, acls)) if rule.condition is not None else rule


def resolved_use_server(rule: UseServer, acls: Acls) -> UseServer:
    return evolve(rule, condition=with_acls(rule.condition, acls))


def with_acls(condition: Condition, acls: Acls) -> Condition:
    def whole(term: Term) -> Term:
        return evolve(term, criteria=tuple(acls.get(term.name, ()))) if term.name and not term.criteria else term

    return evolve(condition, alternatives=tuple(tuple(map(whole, terms)) for terms in condition.alternatives))
