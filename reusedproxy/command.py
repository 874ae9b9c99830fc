"""Parses the command line of `twist reusedproxy`, and makes the service that it asks for.

`twist` and `twistd` load this module when they are asked for reusedproxy. It prints faults, one line each, and ends the
program before anything is served. Must never know how a proxy is built.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from twisted.application.service import IService
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from reusedproxy.build.log_lines import unread_outputs
from reusedproxy.daemon.exit_status import ExitStatus
from reusedproxy.daemon.findings import Finding, report_in_json
from reusedproxy.daemon.limits import floors_too_high
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.parts import load_all
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.signals import let_come
from reusedproxy.daemon.starting.forked import ForkedDaemon
from reusedproxy.daemon.starting.keyring import leave_keyring
from reusedproxy.daemon.starting.launch import (
    acting_for,
    close_inherited,
    log_safely,
    open_standard,
    take_pid_file,
    unusable,
)
from reusedproxy.daemon.starting.pid_file import PidFile
from reusedproxy.daemon.supervision.asking import ask_to_reload
from reusedproxy.daemon.supervision.manager import Manager
from reusedproxy.daemon.supervision.reports import Supervision
from reusedproxy.daemon.supervision.status_file import StatusFile
from reusedproxy.net.descriptors import raise_limit
from reusedproxy.net.unix_sockets import set_umask
from reusedproxy.operators.logs.expiry import due
from reusedproxy.operators.logs.own import Output, OwnLog, log_as_text, log_to_pipe, never_block
from reusedproxy.operators.logs.targets import is_discarded
from reusedproxy.operators.version import build, details

if TYPE_CHECKING:
    from reusedproxy.doctor.options import DoctorOptions

#: What is done here for options of HAProxy's command that there are not.
_OF_HAPROXY = {
    "-D": "the background is 'twistd reusedproxy …' (reusedproxy itself stays in the foreground)",
    "-W": "there is no master process: SIGUSR2 or --replace puts a new process in the old one's place",
    "-Ws": "there is no master process, and systemd is told all the same: leave it out",
    "-db": "reusedproxy is always in the foreground: leave it out",
    "-d": "what is logged is said by 'twist --log-level=debug reusedproxy …'",
    "-V": "--version says the version, and what happens is always said: leave it out",
    "-q": "a start says only what is wrong: leave it out",
    "-sf": "--replace takes the place of the process that runs with this configuration",
    "-st": "--replace takes the place of the process that runs with this configuration",
    "-x": "--replace gets the sockets of the process that runs with this configuration",
    "-L": "'localpeer NAME' in section 'global' says it",
    "-p": "'twistd --pidfile FILE reusedproxy …' writes it",
    "-n": "'maxconn N' in section 'global' says it",
    "-N": "'maxconn N' in section 'defaults' says it",
    "-C": "start it in that directory, or say 'default-path config' in section 'global'",
    "-S": "'stats socket … level admin' in section 'global' takes orders",
    "-m": "systemd's MemoryMax= or ulimit -v bounds memory",
}


class Options(TwistedOptions):
    """The command line of `twist reusedproxy`."""

    longdesc = (
        "An HTTP reverse proxy that keeps warm, verified connections to its servers; configured in HAProxy's words."
    )

    optFlags = [
        ["check", "c", "Check the configuration with all its files, say what is wrong with it, and exit (0 or 1)."],
        ["json", None, "With --check: say it as JSON, for programs."],
        ["verbose", None, "With --version: say with what it runs, too, for reports; -vv is both."],
        [
            "replace",
            None,
            "Take the place of the process that runs with this configuration, which finishes what it has.",
        ],
        [
            "for-start",
            None,
            "With --check and twistd's --uid: read the files as root, like a start, not as that user, like a reload.",
        ],
        [
            "demo",
            None,
            "Run a demonstration: throw-away certificates, a server that demands them, a proxy in front of it.",
        ],
    ]
    optParameters = [
        ["status-file", None, None, "A file that says how the daemon is, and how its last reload ended."],
        [
            "replace-timeout",
            None,
            None,
            "With --replace: give up, and leave the place to the other process, if it is not taken in these seconds.",
        ],
        [
            "reload",
            None,
            None,
            "Tell process RELOAD to reload, wait until its --status-file says how that ended, and exit.",
        ],
    ]

    def __init__(self) -> None:
        TwistedOptions.__init__(self)
        open_standard()
        #: twistd's pid file, which the service writes.
        self.pid_file: PidFile | None = None
        self.own_log = OwnLog()
        #: With which the process will end; None: with 0.
        self.exit_status: ExitStatus | None = None
        #: What `reusedproxy doctor` is asked for.
        self.doctor: DoctorOptions | None = None
        self["config"] = []
        #: The version is asked for with all that it runs with.
        self._detailed = False

    def getSynopsis(self) -> str:
        return (
            "Usage: twist reusedproxy [options], or reusedproxy [options]\n"
            "       reusedproxy doctor --config FILE [options] [backend[/server] ...]"
        )

    def opt_config(self, path: str) -> None:
        """A configuration file, or a directory whose *.cfg files are read in order. May be given more than once."""
        self["config"].append(path)

    opt_f = opt_config

    def opt_version(self) -> NoReturn:
        """Say the version and exit."""
        say("\n".join((f"reusedproxy {build()}", *(details() if self._detailed else ()))))
        raise SystemExit(0)

    def opt_help(self) -> NoReturn:
        """Say what the options are and exit."""
        say(str(self))
        raise SystemExit(0)

    opt_v = opt_version

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parses the command line. Of a program's, which has a parent, a fault is one line, and the end with status 64
        (EX_USAGE): twist's own options, which it would list, are not what is asked for."""
        self._detailed = asks_for_details(sys.argv[1:] if options is None else options)
        try:
            TwistedOptions.parseOptions(self, options)
        except UsageError as error:
            text = of_haproxy(options or ()) or f"{error}"
            if self.parent is None:
                raise UsageError(text) from None
            say(f"reusedproxy: {text}; 'reusedproxy --help' says more", sys.stderr)
            raise SystemExit(os.EX_USAGE) from None

    def parseArgs(self, *words: str) -> None:
        if words and words[0] == "doctor":
            self._take_doctor(words[1:])
        elif words == ("help",):
            self.opt_help()
        elif words:
            raise UsageError(f"'{words[0]}' stands alone: a configuration is named with --config {words[0]}")

    def _take_doctor(self, words: Sequence[str]) -> None:
        """Parses what stands behind the word `doctor`. Faults end the program with status 2, as all that keeps a doctor
        from its work."""
        from reusedproxy.doctor.options import DoctorOptions

        self.doctor = DoctorOptions()
        try:
            if self["config"] or any(self[flag] for flag in ("check", "demo", "replace")):
                raise UsageError("its options stand behind the word 'doctor'")
            self.doctor.parseOptions(words)  # type: ignore[no-untyped-call]
        except UsageError as error:
            print(f"reusedproxy doctor: {error}; 'reusedproxy doctor --help' says more", file=sys.stderr)
            raise SystemExit(2) from None

    def postOptions(self) -> None:
        if self.doctor is not None:
            return
        if self["json"] and not self["check"]:
            raise UsageError("--json goes with --check")
        if self["replace-timeout"] is not None:
            if not self["replace"]:
                raise UsageError("--replace-timeout goes with --replace")
            if not re.fullmatch(r"0*[1-9][0-9]{0,5}", self["replace-timeout"]):
                raise UsageError(f"--replace-timeout needs whole seconds, not '{self['replace-timeout']}'")
        if self["verbose"]:
            raise UsageError("--verbose goes with --version")
        if self["demo"]:
            if self["config"] or self["check"] or self["replace"]:
                raise UsageError("--demo brings its own configuration: leave --config, --check and --replace out")
        elif self["reload"] is not None:
            if not re.fullmatch(r"[0-9]{1,10}", self["reload"]) or not int(self["reload"]):
                raise UsageError(f"--reload needs the number of a process, not '{self['reload']}'")
            if not self["status-file"]:
                raise UsageError("--reload needs the --status-file that the daemon was started with")
            if self["check"] or self["replace"]:
                raise UsageError("--reload does not go with --check, nor with --replace")
        elif self["replace"] and self["check"]:
            raise UsageError("--check does not go with --replace")
        elif not self["config"]:
            raise UsageError("no configuration: say --config FILE, or --demo to see it work without one")
        elsewhere = "." if self.parent is None else self.parent.get("rundir") or "."
        for path in self["config"] or () if elsewhere != "." and self["reload"] is None else ():
            if not os.path.isabs(path) and os.path.realpath(elsewhere) != os.getcwd():
                text = f"--config {path}: with --rundir {elsewhere} that would be another file at a reload"
                raise UsageError(f"{text}: say its whole path")
        if self.parent is not None and self["reload"] is None:
            if (not self["check"] or self["for-start"]) and (faults := unusable(self.parent)):
                print(*(f"[ALERT] {each}" for each in faults), sep="\n", file=sys.stderr)
                raise SystemExit(1)
            if self["replace"]:
                self.exit_status = ExitStatus()
            log_as_text(self.parent, sys.argv[1:])
            if not log_to_pipe(self.parent, _reactor, self.own_log, acting_for(self.parent)):
                log_safely(self.parent, self.own_log)
            if not self["check"]:
                self._take_pid_file(self.parent)

    def _take_pid_file(self, parent: Any) -> None:
        try:
            self.pid_file = take_pid_file(parent, replaces=bool(self["replace"]))
        except OSError as error:
            print(f"[ALERT] --pidfile {parent['pidfile']}: cannot be used: {error.strerror}", file=sys.stderr)
            raise SystemExit(1) from None


def asks_for_details(words: Sequence[str]) -> bool:
    """Tells whether a command line asks for the version in detail: `-vv`, as HAProxy's, or `--version --verbose`."""
    short = sum(len(each) - 1 for each in words if re.fullmatch("-v+", each))
    return short > 1 or "--verbose" in words


def of_haproxy(words: Sequence[str]) -> str:
    """Returns what to do in place of the options of HAProxy's among the words of a command line; "" without any."""
    found = []
    for before, word in zip(("", *words), words, strict=False):
        if before not in ("-f", "--config") and word in _OF_HAPROXY:
            found.append(f"there is no {word}: {_OF_HAPROXY[word]}")
    return "; ".join(dict.fromkeys(found))


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def makeService(options: Options) -> IService:
    """Makes the service; `twist` calls it. Everything is bound when it returns; faults are printed and end
    the program with status 1."""
    from twisted.internet import reactor

    if not reactor.getDelayedCalls():
        # Twisted's clock is the time of day: setting it back would stop every timer (Twisted ticket #2424).
        reactor.seconds = time.monotonic  # type: ignore[method-assign]
    if options.doctor is not None or any(options[each] for each in ("check", "demo", "reload")):
        let_come()  # no daemon: a signal ends it
    if options.doctor is not None and options.doctor["record"] is not None:
        raise SystemExit(answer(options.doctor))
    if options.doctor is not None:
        raise SystemExit(examine(options.doctor, reactor))
    if options["reload"] is not None:
        outcome = ask_to_reload(int(options["reload"]), options["status-file"])
        say("\n".join(outcome.lines), sys.stdout if outcome.well else sys.stderr)
        raise SystemExit(0 if outcome.well else 1)
    if options["demo"]:
        from reusedproxy.demo.demonstration import make_demo

        return make_demo(reactor)
    # twistd drops root's privileges when everything is bound; `twist` has no such option.
    parent = options.parent if isinstance(options.parent, TwistedOptions) else {}
    if parent.get("umask") is not None:
        set_umask(parent["umask"])  # twistd does so when sockets have been made
    service = ProxyService(reactor, options["config"], parent)
    service.replaces = bool(options["replace"])
    if options["replace-timeout"] is not None:
        service.replace_timeout = float(options["replace-timeout"])
    if options.exit_status is not None:
        service.end_with = options.exit_status.end_with
    if not options["check"]:
        leave_keyring()
        service.signals.take_early()
    if options["check"] and os.geteuid() == 0:
        load_all()  # it may act for a user who cannot read the program
    try:
        # A reload will read the files as the user that the daemon becomes, and so does --check, but --for-start. Its
        # process stays root, so that user can neither trace nor stop it, nor read root's environment and terminal in
        # it.
        with acting_for(parent)() if options["check"] and not options["for-start"] else nullcontext():
            proxy = service.assemble(bind=not options["check"])
    except Refused as error:
        if options["json"]:
            say(report_in_json(error.findings, error.summary))
            raise SystemExit(1) from None
        say("\n".join([*error.lines, *([error.summary] if options["check"] and error.summary else [])]), sys.stderr)
        raise SystemExit(1) from None
    in_background = not (parent.get("nodaemon", True) or parent.get("debug"))
    if not options["check"]:
        proxy.notices += unread_outputs(proxy.configuration, lambda fd: in_background or is_discarded(fd))
    if not options["check"] and (in_background or service.leaves_root):
        close_inherited(service.given_descriptors)  # nobody else would, and they may be root's
    if in_background and not options["check"]:
        forked = ForkedDaemon("reusedproxy")
        forked.watch()
        reactor.callWhenRunning(forked.started)
    if not options["check"]:
        service.signals.take_stops()
        reactor.callWhenRunning(service.signals.wake_silently)
        reactor.addSystemEventTrigger("after", "shutdown", service.signals.ignore_stops)
    # A daemon that starts logs what ends soon itself, and goes on watching it.
    ends = due(proxy, time.time()) if options["check"] else ()
    findings = [Finding.of(notice) for notice in (*proxy.notices, *ends)]
    if options["check"]:  # a start logs them
        here = "here; where the daemon is started it may be another"
        findings += [Finding("notice", None, None, f"{text} (the limit {here})") for text in floors_too_high(proxy)]
    if options["json"]:
        say(report_in_json(findings, proxy.configuration.summary))
        raise SystemExit(0)
    if findings:
        say("\n".join(map(str, findings)), sys.stderr)
    if options["check"]:
        say(f"Configuration file is valid\n{proxy.configuration.summary}")
        raise SystemExit(0)
    if parent.get("chroot") or not service.reads_program:
        load_all()  # there is no file of the program any more for what a reload asks for, or not for this user
    service.pid_file = options.pid_file
    pid_file = options.pid_file.path if options.pid_file else None
    status_file = _status_file(options["status-file"], pid_file, service.replaces)
    service.supervision = Supervision(Manager(os.environ, reactor), status_file)
    if options.parent is not None:
        service.own_output = Output.of(options.parent)
        never_block(options.parent, reactor, options.own_log)
    proxy.logs.own_dropped = options.own_log.dropped
    # The objects made so far live as long as the process, or are freed by reference counting (see
    # `pool.apart`). The garbage collector need not traverse them each time, which takes 17 ms for the
    # modules alone, and 100 ms for 1,250 sections. What loading them has left over is frozen by then (`entry`).
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    service.reloads.spares_collector = True
    return service


def examine(options: DoctorOptions, reactor: Any) -> int:
    """Runs a doctor until it has ended or is interrupted, prints its report, and returns the exit status."""
    from reusedproxy.doctor.doctor import Doctor, Orders, UnknownServer
    from reusedproxy.doctor.examination import Bounds
    from reusedproxy.doctor.report import json_of, text_of

    def progress(text: str) -> None:
        say(f"doctor: {text}", sys.stderr)

    try:
        proxy = ProxyService(reactor, options["config"]).assemble(bind=False, ask=True)
        bounds = Bounds(options.idle, options.connections)
        orders = Orders(tuple(options.servers), bounds, options["name"] or "", options.limit)
        doctor = Doctor(proxy, orders, reactor, progress, reactor.stop)
    except (Refused, UnknownServer) as error:
        if options["json"]:
            found = error.findings if isinstance(error, Refused) else [Finding.of(error)]
            say(json_of((), False, [each.in_json() for each in found]))
        else:
            say(str(error), sys.stderr)
        return 2
    raise_limit()
    reactor.callWhenRunning(doctor.start)
    reactor.addSystemEventTrigger("before", "shutdown", doctor.stop)
    reactor.run()
    for failure in doctor.failures:
        failure.printTraceback(sys.stderr)
    say((json_of if options["json"] else text_of)(doctor.chapters, doctor.finished))
    return doctor.status


def answer(options: DoctorOptions) -> int:
    """Prints what other settings would have made of a record, and returns the exit status: 0, or 2 if the record or a
    setting cannot be read."""
    from reusedproxy.doctor.records import Unanswered, answered

    try:
        text = answered(options["record"], options.servers, as_json=bool(options["json"]))
    except Unanswered as error:
        print(f"reusedproxy doctor: {error}", file=sys.stderr)
        return 2
    say(text)
    return 0


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a text, on standard output if no `stream` is given. That its reader has gone is no fault: `head` has what
    it wants. Ends the program with status 1 where a disk is full, say."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # Python would write again what it still has when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SystemExit(f"reusedproxy: its output cannot be written: {error.strerror}") from None


def _status_file(path: str | None, pid_file: str | None, replaces: bool) -> StatusFile | None:
    try:
        if path and pid_file and os.path.realpath(path) == os.path.realpath(pid_file):
            raise OSError(errno.EEXIST, "it is the --pidfile")
        return StatusFile(path, replaces=replaces) if path else None
    except OSError as error:
        print(f"[ALERT] --status-file {path}: cannot be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
