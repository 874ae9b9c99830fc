"""Writes the header Forwarded (RFC 7239) that `option forwarded` tells servers, as HAProxy 2.8 does.

What is no address, no name that begins with `_` and could not be made one is "unknown" (section 6.2); a port that is no
number from 1 to 65535 becomes such a name, too (section 6). It must never know how a request is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from reusedproxy.config.model.forwarded import Forwarded
from reusedproxy.config.model.values import Expression
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.casts import to_text
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.wire.addresses import address_text

#: A name that tells nothing, but the same of the same one (section 6.3); HAProxy puts its underscore before.
_OBFUSCATED = re.compile(rb"[A-Za-z0-9._-]+\Z")
_IPV4 = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")
_PORT = re.compile(rb"[0-9]{1,9}\Z")
#: A name or an address, and perhaps a port; all else is no host to HAProxy.
_HOST = re.compile(rb"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")

Write = Callable[[Facts], bytes]


def forwarded(option: Forwarded) -> Write:
    """Compiles the option to a function that returns the header's value."""
    parts: list[Write] = []
    if option.proto:
        parts.append(lambda facts: b"proto=http" if facts.client_tls is None else b"proto=https")
    if option.host is not None:
        parts.append(_host(option.host))
    if option.by is not None:
        parts.append(_node(b"by", option.by, option.by_port))
    if option.seen is not None:
        parts.append(_node(b"for", option.seen, option.seen_port))
    return lambda facts: b";".join([part(facts) for part in parts])


def _host(expression: Expression) -> Write:
    fetch = compiled(expression)

    def host(facts: Facts) -> bytes:
        text = to_text(fetch(facts)) or b""
        return b'host="%b"' % (text if _HOST.match(text) else b"")

    return host


def _node(name: bytes, of_node: Expression, of_port: Expression | None) -> Write:
    fetch = compiled(of_node)
    if of_port is None:

        def node(facts: Facts) -> bytes:
            who = _who(fetch(facts))
            return b'%b="%b"' % (name, who) if b"[" in who else b"%b=%b" % (name, who)

        return node
    fetch_port = compiled(of_port)

    def node_and_port(facts: Facts) -> bytes:
        return b'%b="%b%b"' % (name, _who(fetch(facts)), _port(fetch_port(facts)))

    return node_and_port


def _who(sample: Sample) -> bytes:
    if isinstance(sample, IPv4Address):
        return str(sample).encode()
    if isinstance(sample, IPv6Address):
        return b"[%b]" % address_text(sample).encode()
    text = to_text(sample) or b""
    if text == b"unknown" or (_IPV4.match(text) and all(int(each) < 256 for each in text.split(b"."))):
        return text
    return _obfuscated(text) or b"unknown"


def _port(sample: Sample) -> bytes:
    """Returns the port behind its colon; nothing for none, and for that of a unix socket."""
    text = b"" if sample == 0 else to_text(sample) or b""
    if _PORT.match(text) and 0 < int(text) <= 65535:
        return b":" + text
    name = _obfuscated(text)
    return b":" + name if name else b""


def _obfuscated(text: bytes) -> bytes:
    if not _OBFUSCATED.match(text):
        return b""
    return text if text.startswith(b"_") and text != b"_" else b"_" + text
