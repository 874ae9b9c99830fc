"""Evaluates conditions over bytes that are still coming: they are true, false, or not known yet.

As in HAProxy (src/acl.c, acl_exec_cond): a criterion whose sample is not complete, or may still change and does not
match so far, is not known. What stands behind one that is not known, joined to it by "and", is looked at when it is:
`WAIT_END { sc0_conn_rate gt 9 }` asks for the rate at the end of the delay. It must never know how bytes come.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.config.model.rules import Condition, Criterion, Term
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.matching import ReadPatterns, criterion, no_files
from reusedproxy.rules.waiting import Incomplete

#: What is known of a condition; "and" and "or" of these are those of their bits.
FALSE, UNKNOWN, TRUE = 0, 1, 3

#: Returns FALSE, UNKNOWN or TRUE.
Outlook = Callable[[Facts], int]


def outlook(said: Condition | None, where: str, read: ReadPatterns = no_files) -> Outlook:
    """Compiles a condition; None becomes one that is always true."""
    if said is None:
        return lambda facts: TRUE
    alternatives = [[_term(term, where, read) for term in terms] for terms in said.alternatives]
    unless = said.unless

    def look(facts: Facts) -> int:
        found = FALSE
        for terms in alternatives:
            all_of_it = TRUE
            for term in terms:
                all_of_it &= term(facts)
                if all_of_it != TRUE:
                    break
            found |= all_of_it
            if found == TRUE:
                break
        return _negated(found) if unless else found

    return look


def _term(term: Term, where: str, read: ReadPatterns) -> Outlook:
    criteria = [_criterion(each, where, read) for each in term.criteria]
    negated = term.negated

    def look(facts: Facts) -> int:
        found = FALSE
        for each in criteria:
            found |= each(facts)
            if found == TRUE:
                break
        return _negated(found) if negated else found

    return look


def _criterion(said: Criterion, where: str, read: ReadPatterns) -> Outlook:
    test = criterion(said, where, read)

    def look(facts: Facts) -> int:
        inspected = facts.inspected
        assert inspected is not None
        inspected.changes = False
        try:
            if test(facts):
                return TRUE
        except Incomplete:
            return UNKNOWN
        return UNKNOWN if inspected.changes and not inspected.final else FALSE

    return look


def _negated(found: int) -> int:
    return {TRUE: FALSE, FALSE: TRUE}.get(found, UNKNOWN)
