"""Finds the states that servers had in an earlier process: `server-state-file` and `load-server-state-from-file`.

Each file is read once. One that is absent or wrong keeps nothing from starting: it is told of in a notice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from reusedproxy.backends.saved_states import (
    OTHER_NAME,
    SavedState,
    Unreadable,
    Unusable,
    ordered_name,
    rows,
    saved_service,
    saved_state,
)
from reusedproxy.config import model
from reusedproxy.config.model.values import Notice
from reusedproxy.net.files import unless_pipe

#: Bytes of a file of states: some 100,000 servers.
LARGEST = 16 << 20


class SavedStates:
    """Reads files of states, and adds to `notices` what is wrong with them."""

    def __init__(self, settings: model.Global, notices: list[Notice], running: str = "") -> None:
        """`running` is what a process says whose place this one takes, in place of any file."""
        self._running = {(words[1], words[3]): [*words] for words in rows(running)} if running else None
        self._settings = settings
        self._notices = notices
        #: Lines by backend and server, by the file's path; None: it cannot be used.
        self._files: dict[str, dict[tuple[str, str], list[str]] | None] = {}
        self._told = False

    def of(self, backend: model.Backend) -> Mapping[str, SavedState]:
        """Returns the states of this backend's servers, by their names."""
        path = "" if self._running is not None else self._path(backend)
        found = self._running if self._running is not None else self._file(path, backend) if path else None
        states = {}
        for server in backend.servers if found is not None else ():
            words = found.get((backend.name, server.name)) if found is not None else None
            if words is None:
                continue
            try:
                states[server.name] = state = saved_state(words)
            except Unusable as error:
                self._warn(server.place, f"server {backend.name}/{server.name}: '{path}': {error}: not applied")
                continue
            other = state.administrative & OTHER_NAME and state.name != server.host
            # HAProxy has the host of a service as another name, too.
            if other and not ordered_name(server, state) and saved_service(server, state) is None:
                text = (
                    f"server {backend.name}/{server.name}: '{path}': its name '{state.name}', ordered, is not applied"
                )
                self._warn(server.place, text)
        if found is not None and path and backend.state_from == "local":
            known = {server.name for server in backend.servers}
            for name in [server for section, server in found if section == backend.name and server not in known]:
                self._warn(backend.place, f"backend {backend.name}: '{path}' has server '{name}', which there is not")
        return states

    def _path(self, backend: model.Backend) -> str:
        settings = self._settings
        if backend.state_from == "local":
            path = backend.state_file or backend.name
        elif backend.state_from == "global":
            path = settings.state_file
            if not path and not self._told:
                self._told = True
                text = "'load-server-state-from-file global' without a 'server-state-file' in 'global': nothing is read"
                self._warn(backend.place, text)
        else:
            path = ""
        return os.path.join(settings.state_base, path) if path else ""

    def _file(self, path: str, backend: model.Backend) -> dict[tuple[str, str], list[str]] | None:
        if path in self._files:
            return self._files[path]
        found: dict[tuple[str, str], list[str]] | None = {}
        assert found is not None
        try:
            with open(path, "rb", opener=unless_pipe) as file:
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise Unreadable(f"it has more than {LARGEST} bytes")
            for words in rows(content.decode("utf-8", "replace")):
                found.setdefault((words[1], words[3]), [*words])
        except FileNotFoundError:
            found = None
            text = f"server states: '{path}' is not there (it is made of what 'show servers state' says)"
            self._notices.append(Notice("notice", backend.place, text))
        except (OSError, Unreadable) as error:
            found = None
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._warn(backend.place, f"server states: '{path}' cannot be used: {why}")
        self._files[path] = found
        return found

    def _warn(self, place: model.Place, text: str) -> None:
        self._notices.append(Notice("warning", place, text))
