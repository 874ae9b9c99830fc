"""Does the orders that change files of TLS in memory: `new|set|add|commit|abort|del ssl …`. Texts are HAProxy's.

They are the same for certificates, files of CAs and files of revocation lists; what differs is the business of a
`Kind`. What is set is held in one transaction of each kind, of one file, until it is committed; then the service turns
to it as `ssl-watch` turns to changed files: at once everywhere, or nowhere. It must never know how.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from attrs import frozen

from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.net.tls.svid import SPIFFE
from reusedproxy.operators.runtime.messages import NOTICE, Failure, Message
from reusedproxy.operators.runtime.proxy import BUSY, Context, Refusal, Transaction

T = TypeVar("T")
LOCKED = "Operations on certificates are currently locked!"


@frozen
class Known(Generic[T]):
    """Describes a file as it is in use, or waits in memory to be used: `uses` are the `bind` and `server` lines that
    use it, and `key` is its name in a `FilesInMemory`."""

    name: str
    key: Any
    content: T
    uses: int = 0

    @property
    def status(self) -> str:
        return ("Used" if self.uses else "Unused") if self.content else "Empty"


class Kind(ABC, Generic[T]):
    """Does the orders about one kind of files. Contents without anything in them are false."""

    #: Behind "ssl" in orders; for a file in texts; and for what is in it.
    word: ClassVar[str]
    noun: ClassVar[str]
    payload: ClassVar[str]
    #: What is said of a new file (its name), and of a transaction ("created" or "updated", its name).
    created: ClassVar[str]
    changed: ClassVar[str]

    @abstractmethod
    def known(self, context: Context) -> Mapping[str, Known[T]]:
        """Returns the files that are known now, by their names, in the order of these."""

    @abstractmethod
    def put(self, files: FilesInMemory, key: Any, content: T | None) -> FilesInMemory:
        """Returns the files with this one; without it where there is no content."""

    @abstractmethod
    def added(self, name: str) -> Known[T]:
        """Returns a new, empty file."""

    @abstractmethod
    def loaded(self, said: str, payload: bytes, before: T, adds: bool) -> T:
        """Returns what a file has become by a payload, which is to be added to what was there `before`, or to take its
        place. Raises Refusal."""

    def names(self, said: str) -> list[str]:
        """Returns the names of files that are meant by what was `said` to `set`, the likeliest first."""
        return [said]

    def demand_whole(self, transaction: Transaction) -> None:
        """Raises Refusal where something is missing without which a transaction cannot be committed."""

    def ongoing(self, context: Context) -> Transaction | None:
        """Returns the ongoing transaction. A reload of the configuration has ended one that began before it."""
        found = context.service.transactions.get(self.word)
        # Servers that are added leave the section `global` what it is; a reload reads another one.
        if found is not None and found.configuration.global_ is not context.proxy.configuration.global_:
            del context.service.transactions[self.word]
            return None
        return found

    # The orders.

    def new(self, context: Context, words: Sequence[str]) -> str:
        """Does `new ssl <word> <name>`."""
        if not words:
            raise Refusal(f"'new ssl {self.word}' expects a filename")
        if context.service.files_are_locked:
            raise Refusal(f"Can't create a {self.noun}!\n{LOCKED}")
        if words[0] in self.known(context):
            raise Refusal(f"{_capital(self.noun)} '{words[0]}' already exists!")
        self._keep(context, self.added(words[0]))
        return Message(self.created.format(words[0]), NOTICE)

    def set(self, context: Context, words: Sequence[str]) -> str:
        """Does `set ssl <word> <name> <<`."""
        return self._set(context, words, adds=False)

    def add(self, context: Context, words: Sequence[str]) -> str:
        """Does `add ssl <word> <name> <<`."""
        return self._set(context, words, adds=True)

    def _set(self, context: Context, words: Sequence[str], *, adds: bool) -> str:
        if not words or context.payload is None:
            raise Refusal(f"'set ssl {self.word}' expects a filename and {self.payload} as a payload")
        said, failed = words[0], f"Can't update {words[0]}!"
        ongoing, known = self.ongoing(context), self.known(context)
        if context.service.files_are_locked:
            raise Refusal(f"Can't update the {self.noun}!\n{LOCKED}\n{failed}")
        names = self.names(said)
        if names[0] == SPIFFE:
            raise Refusal(f"It comes from the agent of 'spiffe-workload-api', which renews it.\n{failed}")
        if ongoing is not None and ongoing.name not in names:
            about = f"The ongoing transaction is about '{ongoing.name}'"
            raise Refusal(f"{about} but you are trying to set '{names[0]}'\n{failed}")
        event, transaction = "updated", ongoing
        if transaction is None:
            found = next((known[each] for each in names if each in known), None)
            if found is None:
                raise Refusal(f"Can't replace a {self.noun} which is not referenced by the configuration!\n{failed}")
            event, transaction = "created", Transaction(found.name, context.proxy.configuration, found.content)
        try:
            transaction.content = self.loaded(said, context.payload.encode(), transaction.content, adds)
        except Refusal as refusal:
            raise Refusal(f"{refusal}\n{failed}") from None
        context.service.transactions[self.word] = transaction
        return Message(self.changed.format(event, transaction.name), NOTICE)

    def commit(self, context: Context, words: Sequence[str]) -> Iterator[str]:
        """Does `commit ssl <word> <name>`."""
        if not words:
            raise Refusal(f"'commit ssl {self.word}' expects a filename")
        ongoing, name, failed = self.ongoing(context), words[0], f"Can't commit {words[0]}!"
        if ongoing is None:
            raise Refusal(f"No ongoing transaction! !\n{failed}")
        if ongoing.name != name:
            about = f"The ongoing transaction is about '{ongoing.name}' but you are trying to set '{name}'"
            raise Refusal(f"{about}\n{failed}")
        try:
            self.demand_whole(ongoing)
        except Refusal as refusal:
            raise Refusal(f"{refusal}\n{failed}") from None
        known = self.known(context).get(name) or self.added(name)
        if context.service.files_are_locked:
            raise Refusal(f"Can't commit the {self.noun}!\n{LOCKED}\n{failed}")
        turning: Turning | None = None
        if known.uses:
            files = self.put(context.proxy.trusts.in_memory, known.key, ongoing.content)

            def over(result: Result) -> None:
                if not result.wrong:
                    self._end(context, ongoing)

            turning = Turning(context, files, name, f"commit ssl {self.word}", over)
        else:
            self._keep(context, known, ongoing.content)
            self._end(context, ongoing)
        yield f"Committing {name}"
        yield outcome(known.uses, Result() if turning is None else (yield from turning.result()))

    def abort(self, context: Context, words: Sequence[str]) -> str:
        """Does `abort ssl <word> <name>`."""
        if not words:
            raise Refusal(f"'abort ssl {self.word}' expects a filename")
        ongoing, name = self.ongoing(context), words[0]
        if ongoing is None:
            raise Refusal("No ongoing transaction!")
        if context.service.files_are_locked:
            raise Refusal(f"Can't abort!\n{LOCKED}")
        if ongoing.name != name:
            about = f"The ongoing transaction is about '{ongoing.name}'"
            raise Refusal(f"{about} but you are trying to abort a transaction for '{name}'")
        self._end(context, ongoing)
        return Message(f"Transaction aborted for certificate '{name}'!\n", NOTICE)

    def delete(self, context: Context, words: Sequence[str]) -> str:
        """Does `del ssl <word> <name>`."""
        if not words:
            raise Refusal(f"'del ssl {self.word}' expects a {self.noun} name")
        if context.service.files_are_locked:
            raise Refusal(f"Can't delete the {self.noun}!\n{LOCKED}")
        name, ongoing = words[0], self.ongoing(context)
        failed = f"Can't remove the {self.noun}: "
        if ongoing is not None and ongoing.name == name:
            raise Refusal(f"{failed}ongoing transaction for the {self.noun} '{name}'")
        known = self.known(context).get(name)
        if known is None:
            raise Refusal(f"{failed}{self.noun} '{name}' doesn't exist!\n")
        if known.uses:
            raise Refusal(f"{failed}{self.noun} '{name}' in use, can't be deleted!\n")
        trusts = context.proxy.trusts
        trusts.in_memory = self.put(trusts.in_memory, known.key, None)
        return Message(f"{_capital(self.noun)} '{name}' deleted!\n", NOTICE)

    def _keep(self, context: Context, known: Known[T], content: T | None = None) -> None:
        """Keeps a file in memory that nobody uses, so that nothing has to be made anew."""
        trusts = context.proxy.trusts
        trusts.in_memory = self.put(trusts.in_memory, known.key, known.content if content is None else content)

    def _end(self, context: Context, transaction: Transaction) -> None:
        if context.service.transactions.get(self.word) is transaction:
            del context.service.transactions[self.word]


@frozen
class Result:
    """Tells how files were taken into use: what is `wrong` with them, which has changed nothing, or what there is to be
    `noted`."""

    wrong: Sequence[str] = ()
    noted: Sequence[str] = ()


class Turning:
    """Has listeners and servers use these files, because of an `order` about the one of this name.

    It begins at once: between two pieces of an answer, other orders are done, and reloads.
    """

    def __init__(
        self, context: Context, files: FilesInMemory, name: str, order: str, over: Callable[[Result], object]
    ) -> None:
        """Calls `over` with the result. Raises Refusal while files are locked."""
        self._context = context
        self._over = over
        self._result: Result | None = None
        if not context.service.put_files(files, name, order, self._done):
            raise Refusal(LOCKED)

    def _done(self, wrong: Sequence[str], noted: Sequence[str]) -> None:
        self._result = Result(wrong, noted)
        self._over(self._result)
        self._context.wake()

    def result(self) -> Generator[str, None, Result]:
        """Waits for the result, and returns it."""
        while self._result is None:
            yield BUSY
        return self._result


def outcome(uses: int, result: Result) -> str:
    """Returns the end of the answer to an order: a dot for each line that uses what has changed."""
    if result.wrong:
        return Failure("".join(("\n", *(f"{each}\n" for each in result.wrong), "Failed!\n")))
    return "".join(("." * uses, "\n", *(f"{each}\n" for each in result.noted), "Success!\n"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
