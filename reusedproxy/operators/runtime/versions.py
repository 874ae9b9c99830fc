"""Does the orders about versions, which maps and lists of patterns have in common: `clear`, `prepare` and `commit`; and
adds entries to a version that is being prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from reusedproxy.operators.runtime.entries import WHAT, Contents, in_steps, in_turn, version_of
from reusedproxy.operators.runtime.messages import INFO, Message
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.rules.entries import Entries
from reusedproxy.rules.versions import MOST_PREPARED


class VersionOrders:
    """Does these orders about maps, or about lists of patterns. Every text is HAProxy's."""

    def __init__(
        self,
        kind: str,
        find: Callable[[Context, Sequence[str]], Contents],
        among: Callable[[Context], Mapping[str, Contents]],
    ) -> None:
        """Takes the word that commands have for them ("map", "acl"), what returns the one that words begin with, or
        raises Refusal, and what returns all."""
        self._kind = kind
        self._find = find
        self._among = among
        self._missing = f"Missing {'ACL' if kind == 'acl' else kind} identifier."

    def add(self, each: Contents, version: int, key: bytes, value: bytes = b"") -> Iterator[str]:
        """Adds an entry to a version that is being prepared, if it could be looked up in the current one: a commit must
        not fail for one line. Raises Refusal."""
        self.check(each, version)
        versions = each.versions
        yield from in_steps(each.check(key, value, WHAT))
        if version not in versions.prepared:
            versions.prepared[version] = Entries(each.numbers)
        versions.prepared[version].append(key, value)

    def check(self, each: Contents, version: int) -> None:
        """Raises Refusal if nothing can be added to a version."""
        versions = each.versions
        if version > versions.newest:
            raise Refusal(f"Version number in the future, please use 'prepare {self._kind}' before.")
        if not versions.may_commit(version):
            raise Refusal("Version number out of range.")
        if version not in versions.prepared and len(versions.prepared) >= MOST_PREPARED:
            raise Refusal(f"No more than {MOST_PREPARED} versions can be prepared at a time.")

    def clear(self, context: Context, words: Sequence[str]) -> Iterator[str]:
        """Does `clear map|acl [@<ver>] <name>`."""
        version, rest = version_of(words)
        each = self._named(context, rest)
        yield from self.in_turn(context, each, self._clear(each, version))

    def _clear(self, each: Contents, version: int | None) -> Iterator[str]:
        if version is None or version == each.versions.current:
            yield from in_steps(each.replace(Entries(each.numbers), WHAT))
            each.versions.ordered = True
        else:
            each.versions.prepared.pop(version, None)

    def prepare(self, context: Context, words: Sequence[str]) -> str:
        """Does `prepare map|acl <name>`."""
        return Message(f"New version created: {self._find(context, words).versions.prepare()}\n", INFO)

    def commit(self, context: Context, words: Sequence[str]) -> Iterator[str]:
        """Does `commit map|acl @<ver> <name>`: what was added to the version takes the place of all at once. Of
        one that is refused, nothing has changed, and the version is there as it was."""
        version, rest = version_of(words)
        if version is None:
            raise Refusal("Missing version number.")
        each = self._named(context, rest)
        yield from self.in_turn(context, each, self._commit(each, version))

    def _commit(self, each: Contents, version: int) -> Iterator[str]:
        if not each.versions.may_commit(version):
            raise Refusal("Version number out of range.")
        prepared = each.versions.prepared.get(version)
        yield from in_steps(each.replace(Entries(each.numbers) if prepared is None else prepared, WHAT))
        each.versions.commit(version)
        each.versions.ordered = True

    def in_turn(self, context: Context, each: Contents, order: Iterator[str]) -> Iterator[str]:
        """Does an order about one of them when those that were given before have ended. Raises Refusal."""
        return in_turn(each, lambda: self._among(context), order)

    def _named(self, context: Context, words: Sequence[str]) -> Contents:
        if not words:
            raise Refusal(self._missing)
        return self._find(context, words)
