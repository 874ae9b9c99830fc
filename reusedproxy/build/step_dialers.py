"""Finds how the steps of a server's checks connect: to which address and port, with which TLS. It must never know what
they send."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from attrs import evolve, frozen

from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.config import model
from reusedproxy.config.rules.samples import RESPONSE
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.rules.samples.casts import CASTS
from reusedproxy.rules.samples.compile import compiled


@frozen
class StepDialers:
    """Finds the dialers for the `connect` steps of a server's checks. Kept as long as the checks, so it holds no
    reference to the configuration.

    `usual` is the dialer of a check that says nothing of its connection. `contexts` are the TLS contexts of steps that
    have one of their own, `targets` their addresses.
    """

    usual: Dialer
    own_preface: Callable[[socket.socket], bytes] | None
    contexts: Mapping[int, ClientContext]
    targets: Mapping[int, Target]

    def at(self, usual: Dialer) -> StepDialers:
        """Returns those for a server that has moved."""
        contexts = {number: context.elsewhere() for number, context in self.contexts.items()}
        return evolve(self, usual=usual, contexts=contexts)

    def of(self, step: model.Connect) -> Callable[[CheckFacts], Dialer | None]:
        """Returns how to connect for this step."""
        usual = self.usual
        context = self.contexts.get(step.number, usual.context if step.default else None)
        preface = usual.preface if step.default else None
        if step.send_proxy and preface is None:
            preface = self.own_preface
        target = self.targets.get(step.number, usual.target)
        if step.addr_port is None and usual.target.family != socket.AF_UNIX:
            target = with_port(target, int(usual.target.address[1]))  # an address alone, at the checks' port

        def to(port: int | None) -> Dialer:
            there = with_port(target, port)
            return Dialer(
                *(usual.poller, usual.deadlines, there, context, usual.timeout),
                preface=preface,
                brief=usual.brief,
                reach=usual.reach,
                options=usual.options,
            )

        if not isinstance(step.port, model.Expression):
            dialer = usual if step.default and step == model.Connect(step.number) else to(step.port)
            return lambda facts: dialer
        fetch = compiled(step.port, RESPONSE)
        made: dict[int, Dialer] = {}

        def find(facts: CheckFacts) -> Dialer | None:
            port = CASTS["int"](fetch(facts))
            if not isinstance(port, int) or not 0 < port < 65536:
                return None
            if port not in made:
                made.clear()  # it changes rarely
                made[port] = to(port)
            return made[port]

        return find


def with_port(target: Target, port: int | None) -> Target:
    """Returns the same address with another port; None: the same. A path has none."""
    if target.family == socket.AF_UNIX:
        return target
    host, before, *rest = target.address
    return Target(target.family, (host, before if port is None else port, *rest))
