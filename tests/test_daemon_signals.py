"""Handlers of signals, in a flood of them, and what comes before there are handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.signals import HELD, RELOADING, REPLACING, STOPPING, SignalHandlers, hold_back, let_come


class FloodTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (RELOADING, REPLACING, signal.SIGQUIT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.orders: list[Any] = []
        self.more = 0
        ordered: Any = SimpleNamespace(reload="reload", replace="replace", announce="announce")
        self.handlers = SignalHandlers(SimpleNamespace(callFromThread=self.order), ordered)
        self.handlers.take_others()

    def order(self, function: Any, *arguments: Any) -> None:
        """Takes an order while further signals come."""
        self.orders.append(function)
        while self.more:
            self.more -= 1
            signal.raise_signal(signal.SIGHUP)

    def test_a_signal_is_not_handled_within_its_own_handler(self) -> None:
        """Its order is still to come; that of another signal is not lost, and neither is the next one."""
        self.more = 10_000
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(self.orders, ["reload"])
        self.more = 1
        signal.raise_signal(signal.SIGQUIT)
        self.assertEqual(self.orders, ["reload", "announce", "reload"])

    def test_a_full_pipe_of_the_event_loop_is_no_warning(self) -> None:
        """CPython's handler takes a lock for it, which the code that it interrupts may hold."""
        reading, writing = os.pipe()
        for each in (reading, writing):
            self.addCleanup(os.close, each)
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, bytes(65536))
            except BlockingIOError:
                break
        said: list[Any] = []
        self.patch(sys, "unraisablehook", said.append)
        self.addCleanup(signal.set_wakeup_fd, signal.set_wakeup_fd(writing))
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(len(said), 1, "so CPython warns")
        self.handlers.wake_silently()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(len(said), 1)
        self.assertEqual(signal.set_wakeup_fd(writing), writing)


class EarlyTests(SynchronousTestCase):
    """Signals while the program is loaded."""

    def test_they_are_orders_when_there_are_handlers(self) -> None:
        for number in {*HELD, *STOPPING}:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        orders: list[Any] = []
        ordered: Any = SimpleNamespace(reload="reload", replace="replace", announce="announce")
        handlers = SignalHandlers(SimpleNamespace(callFromThread=lambda function, *_: orders.append(function)), ordered)
        self.addCleanup(let_come)
        hold_back()
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT):
            signal.raise_signal(number)  # to this thread: those of a test runner hold nothing back
        handlers.take_early()
        self.assertEqual(sorted(orders), ["announce", "reload", "replace"])
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), set())

    def test_they_are_held_before_the_program_is_loaded(self) -> None:
        """By the command, and by what `twistd` imports; not by the plugin, which other programs import, too."""
        # By default: who runs the tests may ignore it (nohup).
        by_default = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"
        end = f"{by_default}; os.kill(os.getpid(), signal.SIGHUP); print('alive')"
        main = f"import runpy; runpy.run_module = lambda *_, **__: exec({end!r}); from reusedproxy.__main__ import main"
        for program, said in (
            (f"{main}; main()", "alive\n"),
            (f"import reusedproxy.entry; {end}", "alive\n"),
            (f"import twisted.plugins.reusedproxy_plugin as plugin; {end}", ""),
            (f"import twisted.plugins.reusedproxy_plugin as plugin; plugin.reusedproxy.options; {end}", "alive\n"),
        ):
            root = Path(__file__).parents[1]
            ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
            self.assertEqual((ran.stdout, ran.stderr), (said, ""), program)

    def test_the_collector_leaves_alone_what_is_loaded(self) -> None:
        """It is off meanwhile, when it would run 200 times; then it is as it was, with nothing to look through."""
        begun = "import gc; before = gc.get_stats()[0]['collections']"
        end = "runs = gc.get_stats()[0]['collections'] - before; print(runs < 40, gc.isenabled())"
        end += "; print(gc.get_freeze_count() > 100_000)"
        for way, enabled in (("", True), ("gc.disable(); ", False)):
            program = f"{begun}; {way}import reusedproxy.entry; {end}"
            root = Path(__file__).parents[1]
            ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
            self.assertEqual((ran.stdout, ran.stderr), (f"True {enabled}\nTrue\n", ""), way)
