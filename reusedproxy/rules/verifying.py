"""Finds the rules that ask for passwords with hashes, whose check takes long.

Such a rule is broken off until the hash has been checked, and is evaluated again then (`exchanges.routing`); those
before it are not. Where evaluating it changes nothing, it may be broken off anywhere. Where it does (a condition that
counts, or sets a variable), the password is looked for before the rule begins, so that nothing is done twice. It must
never know how a password is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.model.within import values_in
from reusedproxy.config.validate.users import ASKING
from reusedproxy.rules.changing import counts
from reusedproxy.rules.facts import Facts

Test = Callable[[Any], bool]
#: The converters that set something else than their result.
_SETTING = ("set-var", "unset-var")


class Verified(Facts, Protocol):
    """Defines a request as rules know it that ask for passwords."""

    def verify(self, lists: Sequence[str]) -> None:
        """Has the request's password known in these lists of users, if it names one and may wait for that. Raises
        Unverified where it has to be checked first."""


def users_asked(said: Iterable[object]) -> list[str]:
    """Returns the names of the lists of users that these values of the configuration ask, at any depth."""
    return sorted(
        {call.arguments[0] for each in said for call in values_in(each, Call) if call.name in ASKING and call.arguments}
    )


def verified_first(said: Iterable[object], hashed: Collection[str]) -> tuple[str, ...]:
    """Returns those of the `hashed` lists in which a password must be known before these values are evaluated, since
    that changes something."""
    if not hashed:
        return ()
    values = [*said]
    asked = tuple(name for name in users_asked(values) if name in hashed)
    return asked if asked and any(map(_changes, values)) else ()


def verifying(lists: Sequence[str], test: Test | None) -> Test:
    """Returns a test (None: always true) before which passwords are known in these lists."""

    def is_true(facts: Verified) -> bool:
        facts.verify(lists)
        return test is None or test(facts)

    return is_true


def _changes(said: object) -> bool:
    """Tells whether something is counted or set when this is evaluated, besides what the rule itself does."""
    return counts(said) or any(
        call.name in _SETTING for expression in values_in(said, Expression) for call in expression.converters
    )
