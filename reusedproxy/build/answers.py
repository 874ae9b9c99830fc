"""Reads the files that answers of the proxy's own are made of: whole answers (`errorfile`), and bodies (`file`).

Each file is read once; a fault in one is reported at each line that names it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from attrs import Factory, define, evolve

from reusedproxy.config.language.report import Fault, Wrong
from reusedproxy.config.model.errors import AnswerFile, ErrorLocation, ErrorPage
from reusedproxy.config.model.rules import Rule, Rules
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.reading import read_format_for
from reusedproxy.config.rules.replies import Reply
from reusedproxy.config.rules.samples import REQUEST, RESPONSE
from reusedproxy.exchanges.own_answers import reply
from reusedproxy.net.files import read_file, why_unread
from reusedproxy.rules import actions
from reusedproxy.rules.actions import LoadedReply, act_of
from reusedproxy.wire.reason_phrases import reason_phrase
from reusedproxy.wire.whole_answers import AnswerFault, WholeAnswer, read_whole_answer


@define
class Answers:
    """Makes the pages and answers of sections. None has more than `most` bytes (`tune.bufsize`).

    `files` are the contents by the files' names: those that are given are not read again.
    """

    most: int = 16384
    files: dict[str, bytes] = Factory(dict)
    faults: list[Fault] = Factory(list)
    _whole: dict[str, WholeAnswer] = Factory(dict)

    def pages(self, said: Iterable[ErrorPage]) -> dict[int, actions.ErrorPage]:
        """Returns what a section sends in place of error pages, by status."""
        pages = {}
        for each in said:
            page = self._page(each)
            if page is not None:
                pages[each.status] = page
        return pages

    def rules(self, rules: Rules) -> Rules:
        """Returns the rules with the content of the files that their answers name."""
        return evolve(
            rules,
            request=self._loaded(rules.request, REQUEST),
            response=self._loaded(rules.response, RESPONSE),
        )

    def _loaded(self, rules: tuple[Rule, ...], where: str) -> tuple[Rule, ...]:
        if not any(isinstance(rule.action, Reply) for rule in rules):
            return rules
        return tuple(
            evolve(rule, action=self._reply(rule.place, f"'{rule.words}'", rule.action, where))
            if isinstance(rule.action, Reply)
            else rule
            for rule in rules
        )

    def _page(self, said: ErrorPage) -> actions.ErrorPage | None:
        source = said.source
        if isinstance(source, AnswerFile):
            return self._whole_answer(said.place, "'errorfile'", source)
        if isinstance(source, ErrorLocation):
            return _redirection(source)
        assert isinstance(source, Reply)
        if source.standard:
            return read_whole_answer(reply(said.status, b"", None, b"", close=False))
        loaded = self._reply(said.place, "'http-error'", source, REQUEST)
        if isinstance(loaded, LoadedReply) and loaded.whole is not None:
            return loaded.whole
        return act_of(loaded, REQUEST)

    def _reply(self, place: Place, what: str, said: Reply, where: str) -> Reply | LoadedReply:
        if said.whole is not None:
            whole = self._whole_answer(place, what, said.whole)
            return said if whole is None else LoadedReply(said, whole=whole)
        if not said.file:
            return said
        body = self._content(place, f"{what}: file {said.file}", said.file)
        if body is None:
            return said
        if body and not said.content_type:
            self._fault(place, f"{what}: a file that is not empty needs its 'content-type', such as text/html")
        elif body and said.status in (204, 304):
            self._fault(place, f"{what}: an answer with status {said.status} has no body")
        if not said.formatted:
            return LoadedReply(said, body=body)
        try:
            text = body.decode()
            made = read_format_for(text, f"{what}: in {said.file}", where, f"{what} lines")
        except UnicodeDecodeError:
            self._fault(place, f"{what}: {said.file} is no UTF-8 text: 'file' sends any bytes")
        except Wrong as wrong:
            self._fault(place, str(wrong))
        else:
            return evolve(said, content=made)
        return said

    def _whole_answer(self, place: Place, what: str, file: AnswerFile) -> WholeAnswer | None:
        """Returns the answer in a file; None if there is a fault in it."""
        whole = self._whole.get(file.path)
        if whole is None:
            data = self._content(place, f"{what}: file {file.path}", file.path)
            if data is None:
                return None
            try:
                whole = self._whole[file.path] = read_whole_answer(data)
            except AnswerFault as fault:
                self._fault(place, f"{what}: {file.path}: {fault}")
        return whole

    def _content(self, place: Place, what: str, path: str) -> bytes | None:
        data = self.files.get(path)
        if data is None:
            try:
                data = read_file(path, self.most)
            except OSError as error:
                too_large = error.errno == errno.EFBIG
                self._fault(
                    place, f"{what} {self._too_large if too_large else f'cannot be read: {why_unread(path, error)}'}"
                )
                return None
            self.files[path] = data
        if len(data) > self.most:
            self._fault(place, f"{what} {self._too_large}")
            return None
        return data

    @property
    def _too_large(self) -> str:
        return f"is larger than a buffer (tune.bufsize {self.most})"

    def _fault(self, place: Place, text: str) -> None:
        fault = Fault(place, text)
        if fault not in self.faults:
            self.faults.append(fault)


def _redirection(said: ErrorLocation) -> WholeAnswer:
    """Returns the answer of `errorloc`, in HAProxy's form."""
    first = f"HTTP/1.1 {said.status} {reason_phrase(said.status)}"
    lines = (first, "cache-control: no-cache", "content-length: 0", f"location: {said.url}", "", "")
    return read_whole_answer("\r\n".join(lines).encode())
