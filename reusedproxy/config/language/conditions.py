"""Evaluates the `.if` family of directives: which lines are active, and what a condition yields (manual, section 2.4).

Knows which version and which features this program claims. Must never know sections or keywords; the environment is
passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from attrs import Factory, define

from reusedproxy.config.language.arguments import Unfinished, arguments_at
from reusedproxy.config.language.features import ENABLED, FEATURES
from reusedproxy.config.language.left_out import LeftOut
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.values import Place

VERSION = "3.3.0"
DIRECTIVES = (".if", ".elif", ".else", ".endif", ".notice", ".warning", ".alert", ".diag")
# Number of arguments of each predicate.
PREDICATES = {
    "defined": 1,
    "feature": 1,
    "streq": 2,
    "strneq": 2,
    "version_atleast": 1,
    "version_before": 1,
    "enabled": 1,
    "strstr": 2,
    "openssl_version_atleast": 1,
    "openssl_version_before": 1,
    "ssllib_name_startswith": 1,
    "awslc_api_atleast": 1,
    "awslc_api_before": 1,
}
_NOT_DONE = ("fips_mode",)
#: Those about this program and its libraries: what they say of another one may be otherwise.
_ABOUT_THE_PROGRAM = PREDICATES.keys() - {"defined", "streq", "strneq", "strstr"}


@define
class _Block:
    """Tracks one open `.if`. `state` is "taken" (its lines are active), "waiting" (a later branch may be active) or
    "past" (no branch can be active any more)."""

    place: Place
    state: str
    else_seen: bool = False
    #: What the condition that was judged last asks of the program, each with its answer; {} if that does not decide it.
    asked: dict[str, bool] = Factory(dict)
    #: Its branches that are left out, the one that is being read the last; and whether one is not.
    branches: list[LeftOut] = Factory(list)
    has_branch: bool = False


@define
class Conditionals:
    """Follows the directives of one file and tells whether the current line is active."""

    report: Report
    environment: Mapping[str, str]
    ssllib: str = ""
    #: Tells whether servers' certificates are not verified unless a line says so (`ssl-server-verify none`).
    unverified: Callable[[], bool] = lambda: False
    blocks: list[_Block] = Factory(list)

    @property
    def active(self) -> bool:
        return all(block.state == "taken" for block in self.blocks)

    def directive(self, line: Line) -> None:
        """Processes a line whose first word begins with a dot. Raises Wrong."""
        if line.keyword not in DIRECTIVES:
            if self.active:
                raise Wrong(f"unknown directive '{line.keyword}'{did_you_mean(line.keyword, DIRECTIVES)}")
        elif line.keyword == ".if":
            self._if(line)
        elif line.keyword in (".elif", ".else", ".endif"):
            self._branch(line)
        elif self.active:
            self._message(line)

    def leave_out(self, text: str, place: Place) -> None:
        """Notes a line of a branch that is left out."""
        block = next(block for block in self.blocks if block.state != "taken")
        if block.branches:
            block.branches[-1].add(text, place)

    def finish(self) -> None:
        """Reports every `.if` that is still open at the end of the file; HAProxy requires it to be closed there."""
        for block in self.blocks:
            self.report.fault(block.place, "this '.if' has no '.endif' in this file")
        self.blocks.clear()

    def _if(self, line: Line) -> None:
        if not self.active:
            self.blocks.append(_Block(line.place, "past"))
            return
        # Entered before the condition is evaluated: with a faulty condition the block still has its .endif, and its
        # lines are read.
        self.blocks.append(block := _Block(line.place, "taken"))
        block.state = "taken" if self._judge(line, block) else "waiting"
        self._begin_branch(block, line.place)

    def _begin_branch(self, block: _Block, place: Place) -> None:
        if block.state == "taken":
            block.has_branch = True
        else:
            block.branches.append(LeftOut(place, place, block.asked, block.has_branch))

    def _tell(self, block: _Block) -> None:
        """Tells which rules are left out by a block that asks what this program is. Where another branch is in their
        place, that is but worth a notice."""
        for branch in block.branches:
            if branch.rules and branch.asked:
                (self.report.notice if block.has_branch else self.report.warn)(branch.first, branch.told)

    def _branch(self, line: Line) -> None:
        if not self.blocks:
            raise Wrong(f"'{line.keyword}' without an '.if' before it")
        block = self.blocks[-1]
        if line.keyword == ".endif":
            self._tell(self.blocks.pop())
            line.at_most(0)
            return
        if block.else_seen:
            raise Wrong(f"'{line.keyword}' after '.else' (the '.if' is at {block.place})")
        if line.keyword == ".else":
            block.else_seen = True
            block.state = "taken" if block.state == "waiting" else "past"
        elif block.state == "waiting":
            block.state = "taken"
            block.state = "taken" if self._judge(line, block) else "waiting"
        else:
            block.state = "past"
        self._begin_branch(block, line.place)
        if line.keyword == ".else":
            line.at_most(0)

    def _judge(self, line: Line, block: _Block) -> bool:
        try:
            condition = _Condition(" ".join(line.arguments), self.environment, self.ssllib, self.unverified())
            true = condition.whole()
            block.asked = condition.asked if condition.whole(known=False) is None else {}
            return bool(true)
        except Wrong:
            # It is unknown which lines would have been active, so names may be missing.
            self.report.names_in_doubt = True
            raise

    def _message(self, line: Line) -> None:
        if len(line.words) > 2:
            raise Wrong(f"'{line.keyword}' takes one message: put quotes around it")
        text = " ".join(line.arguments)
        if line.keyword == ".alert":
            raise Wrong(text or "'.alert' without a message")
        if line.keyword == ".warning":
            self.report.warn(line.place, text)
        elif line.keyword == ".notice":
            self.report.notice(line.place, text)
        # .diag prints in HAProxy's diagnostic mode only, which does not exist here.


def evaluate(expression: str, environment: Mapping[str, str], ssllib: str = "") -> bool:
    """Evaluates a condition; an empty one is false. Raises `Wrong` when it cannot be parsed.

    `ssllib` is the TLS library's own version text, such as "OpenSSL 3.5.0 8 Apr 2025".
    """
    return bool(_Condition(expression, environment, ssllib).whole())


@define
class _Condition:
    """Parses one condition by recursive descent: && binds tighter than ||, ! tightest. A value is true, false, or not
    known (None), as what the condition asks of the program is where that is not `known`."""

    text: str
    environment: Mapping[str, str]
    ssllib: str
    unverified: bool = False
    at: int = 0
    depth: int = 0
    known: bool = True
    #: What it asks of the program, each with its answer.
    asked: dict[str, bool] = Factory(dict)

    def whole(self, known: bool = True) -> bool | None:
        """Returns the value of the condition. Raises Wrong."""
        self.at, self.depth, self.known = 0, 0, known
        if not self.text.strip():
            return False
        value = self.alternatives()
        if self.rest():
            raise Wrong(f"'{self.rest()}' at the end of the condition '{self.text}' cannot be understood")
        return value

    def rest(self) -> str:
        return self.text[self.at :].strip()

    def take(self, token: str) -> bool:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def alternatives(self) -> bool | None:
        values = [self.conjunction()]
        while self.take("||"):
            values.append(self.conjunction())
        return True if True in values else None if None in values else False

    def conjunction(self) -> bool | None:
        values = [self.term()]
        while self.take("&&"):
            values.append(self.term())
        return False if False in values else None if None in values else True

    def term(self) -> bool | None:
        negate = False
        while self.take("!"):
            negate = not negate
        value = self.bare_term()
        return None if value is None else value != negate

    def bare_term(self) -> bool | None:
        if self.take("("):
            return self.parentheses()
        found = re.compile(r"[+-]?[0-9]+").match(self.text, self.at)
        if found:
            self.at = found.end()
            return bool(found[0].strip("+-0"))
        found = re.compile(r"([a-z_]+)\(").match(self.text, self.at)
        if not found:
            raise Wrong(
                f"the condition '{self.text}' cannot be understood at '{self.rest() or 'its end'}':"
                f" a number, or one of {', '.join(name + '()' for name in PREDICATES)} is expected"
            )
        self.at = found.end()
        return self.predicate(found[1])

    def parentheses(self) -> bool | None:
        self.depth += 1
        if self.depth > 100:
            raise Wrong("the condition has more than 100 parentheses inside each other")
        value = self.alternatives()
        if not self.take(")"):
            raise Wrong(f"a ')' is missing in the condition '{self.text}'")
        self.depth -= 1
        return value

    def predicate(self, name: str) -> bool | None:
        if name in _NOT_DONE:
            raise Wrong(f"'{name}' is a HAProxy predicate that reusedproxy does not do yet")
        if name not in PREDICATES:
            raise Wrong(f"unknown predicate '{name}' in the condition '{self.text}'{did_you_mean(name, PREDICATES)}")
        arguments = self.predicate_arguments(name)
        if len(arguments) != PREDICATES[name]:
            raise Wrong(f"'{name}' takes {PREDICATES[name]} argument(s), {len(arguments)} given in '{self.text}'")
        value = self.judge(name, arguments)
        if name not in _ABOUT_THE_PROGRAM:
            return value
        self.asked[f"{name}({','.join(arguments)})"] = value
        return value if self.known else None

    def predicate_arguments(self, name: str) -> list[str]:
        """Parses the arguments up to the closing parenthesis. Raises Wrong."""
        try:
            arguments, self.at = arguments_at(self.text, self.at)
        except Unfinished as end:
            raise Wrong(f"a '{end.missing}' is missing after '{name}(' in the condition '{self.text}'") from None
        return list(arguments)

    def judge(self, name: str, arguments: list[str]) -> bool:
        if name == "defined":
            return arguments[0] in self.environment
        if name == "feature":
            return arguments[0] in FEATURES
        if name in ("streq", "strneq"):
            return (arguments[0] == arguments[1]) == (name == "streq")
        if name == "strstr":
            return arguments[1] in arguments[0]
        if name == "ssllib_name_startswith":
            return self.ssllib.startswith(arguments[0])
        if name in ("openssl_version_atleast", "openssl_version_before"):
            if not self.ssllib:
                raise Wrong(f"'{name}': it is not known which library does TLS")
            atleast = _openssl_key(self.ssllib.partition(" ")[2].partition(" ")[0]) >= _openssl_key(arguments[0])
            return atleast == (name == "openssl_version_atleast")
        if name in ("awslc_api_atleast", "awslc_api_before"):
            return False  # configurations ask it after ssllib_name_startswith(AWS-LC); this is OpenSSL
        if name == "enabled":
            return arguments[0] in ENABLED or (arguments[0] == "SERVER-SSL-VERIFY-NONE" and self.unverified)
        return (_version_key(VERSION) >= _version_key(arguments[0])) == (name == "version_atleast")


def _openssl_key(text: str) -> tuple[int, int, int, int, int]:
    """Returns a sort key for versions of OpenSSL: a letter sorts after none, and 3.0.0-beta2
    before 3.0.0. Raises Wrong."""
    found = re.match(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})([a-z]?)(-(?:alpha|beta|dev|pre)\S*)?", text, re.ASCII)
    if not found:
        raise Wrong(f"'{text}' is not a version of OpenSSL such as 3.0.0 or 1.1.1k")
    major, minor, patch = (int(part) for part in found.group(1, 2, 3))
    return major, minor, patch, -1 if found[5] else 0, ord(found[4]) if found[4] else 0


def _version_key(text: str) -> tuple[int, int, int, int, int]:
    """Returns a sort key for versions, as HAProxy compares them: missing parts are zero, and 3.2-dev9 sorts before
    3.2.0. Raises Wrong."""
    found = re.match(
        r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:-dev(\d{1,9}))?(?:-(\d{1,9}))?[-+.\w]*\Z", text, re.ASCII
    )
    if not found:
        raise Wrong(f"'{text}' is not a version such as 3.2 or 2.4-dev19")
    major, minor, patch, development, commits = (int(part) if part is not None else None for part in found.groups())
    return major or 0, minor or 0, patch or 0, -1 if development is not None else 0, (development or 0) + (commits or 0)
