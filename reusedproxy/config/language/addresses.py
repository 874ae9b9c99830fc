"""Parses addresses as HAProxy writes them: what to listen on, and where a server is.

Knows prefixes (`ipv4@`, `unix@`, `fd@`), lists, port ranges and the last-colon rule for IPv6. Resolves nothing: a host
name stays a name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from attrs import frozen

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Wrong, did_you_mean, not_done
from reusedproxy.config.model.values import ListenAddress

#: The transport of listeners and servers, which an address may name before its family, or in its place.
_STREAM = "stream+"
_PREFIXES = {
    "ipv4": "ipv4", "ipv6": "ipv6", "unix": "unix", "uxst": "unix", "fd": "fd", "abns": "abns",
    "tcp": "", "tcp4": "ipv4", "tcp6": "ipv6",
}  # fmt: skip
_PREFIXES_NOT_DONE = re.compile(
    r"((stream|dgram)\+)?(abnsz?|sockpair|uxdg|(udp|quic|mptcp)[46]?|rhttp|ring|ipv[46]|unix|fd)\Z"
)
#: Whether a name server is asked over TCP, and the family that the prefix demands.
_NAMESERVER_PREFIXES = {
    "ipv4": (False, "ipv4"), "ipv6": (False, "ipv6"), "dgram+ipv4": (False, "ipv4"), "dgram+ipv6": (False, "ipv6"),
    "udp": (False, ""), "udp4": (False, "ipv4"), "udp6": (False, "ipv6"),
    "tcp": (True, ""), "tcp4": (True, "ipv4"), "tcp6": (True, "ipv6"),
    "stream+ipv4": (True, "ipv4"), "stream+ipv6": (True, "ipv6"),
}  # fmt: skip
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_]*)\}?|\$([A-Za-z0-9_]*)", re.ASCII)
_EVERY_IPV4 = ("", "*", "0.0.0.0")
#: Of a socket that a supervisor hands over, which has no blanks here and begins with a letter.
_NAME = re.compile(r"[A-Za-z][!-9;-~]{0,254}\Z")
#: Characters of a name, and of one of its labels (RFC 1035 section 2.3.4).
_LONGEST_NAME, _LONGEST_LABEL = 255, 63
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")
# A longer range is taken for a typing error: each port costs a socket.
_LONGEST_RANGE = 4096


def expanded(text: str, variable: Callable[[str], str | None]) -> str:
    """Expands the variables in one address.

    HAProxy expands $NAME and ${NAME} in addresses whatever quotes stand around them (src/tools.c, env_expand), and no
    other syntax there. A variable that is not set expands to the empty text. Raises Wrong when a value contains a
    comma.
    """

    def value(found: re.Match[str]) -> str:
        held = variable(found[1] or found[2] or "") or ""
        if "," in held:
            raise Wrong(f"'{found[0]}' holds a list ('{held}') where one address has to stand")
        return held

    return _VARIABLE.sub(value, text)


def listen_addresses(text: str, what: str = "'bind'") -> tuple[ListenAddress, ...]:
    """Parses a comma-separated list of listening addresses; port ranges are written out, one address
    per port. Raises Wrong."""
    found: list[ListenAddress] = []
    for part in text.split(","):
        if not part:
            raise Wrong(f"{what}: an address is missing in '{text}'")
        found.extend(_listen_address(part, what))
    return tuple(found)


def is_everywhere(text: str) -> bool:
    """Tells whether the address listens on every address of the machine; false for an address that cannot be parsed."""
    try:
        return any(address.kind == "tcp" and not address.host for address in listen_addresses(text))
    except Wrong:
        return False


def _listen_address(text: str, what: str) -> list[ListenAddress]:
    family, rest = _family(text, what)
    if family == "unix":
        return [ListenAddress("unix", path=unix_path(rest, what))]
    if family == "abns":
        return [ListenAddress("abns", path=_abstract_name(rest, what))]
    if family == "fd" and _NAME.match(rest):
        return [ListenAddress("fd", path=rest)]
    if family == "fd":
        return [ListenAddress("fd", fd=units.integer(rest, f"{what}: the file descriptor in '{text}'"))]
    host, port_text = _host_and_port(rest)
    if not port_text:
        if text.isdigit():
            hint = f"write ':{text}'"
        elif "/" in text:
            hint = f"a unix socket's path begins with '/', or with 'unix@': write 'unix@{text}'"
        else:
            hint = f"write '{_without_colon(text)}:80', say"
        raise Wrong(f"{what}: the port is missing in '{text}': {hint}")
    host, v6 = _listen_host(host, family, text, what)
    return [ListenAddress("tcp", host=host, port=port, v6=v6) for port in _ports(port_text, text, what)]


def _family(text: str, what: str) -> tuple[str, str]:
    """Splits off the address prefix. Returns the kind of address ("" without a prefix) and the rest of the text."""
    text = text.removeprefix(_STREAM)
    prefix, at, rest = text.partition("@")
    if text.startswith("/") or not at:
        return ("unix", text) if text.startswith("/") else ("", text)
    if prefix in _PREFIXES:
        return _PREFIXES[prefix], rest
    if _PREFIXES_NOT_DONE.match(prefix):
        raise Wrong(not_done(prefix + "@", "address prefix"))
    raise Wrong(f"{what}: unknown address prefix '{prefix}@'{did_you_mean(prefix, _PREFIXES)}")


def unix_path(path: str, what: str) -> str:
    if not path:
        raise Wrong(f"{what}: 'unix@' needs the path of a socket after it")
    if len(path.encode()) > 107:
        raise Wrong(f"{what}: the path of a unix socket has at most 107 bytes, '{path}' is longer")
    return path


def _abstract_name(name: str, what: str) -> str:
    if not name:
        raise Wrong(f"{what}: 'abns@' needs a name after it")
    if len(name.encode()) > 107:
        raise Wrong(f"{what}: a name in the abstract namespace has at most 107 bytes, '{name}' is longer")
    return name


def _host_and_port(text: str) -> tuple[str, str]:
    """Splits host and port at the last colon, as HAProxy does even for an IPv6 address without brackets.
    `[v6]` alone has no port."""
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], ""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return (host[1:-1] if host.startswith("[") and host.endswith("]") else host), port


def _without_colon(text: str) -> str:
    """Removes a colon at the end, unless it belongs to an IPv6 address ("::")."""
    return text[:-1] if text.endswith(":") and not text.endswith("::") else text


def _listen_host(host: str, family: str, text: str, what: str) -> tuple[str, bool]:
    if host in _EVERY_IPV4:
        return "", family == "ipv6"
    if host == "::":
        return "", True
    version = _ip_version(host)
    if version is None and not is_host_name(host):
        raise Wrong(f"{what}: '{host}' in '{text}' is not an address")
    _check_family(version, family, text, what)
    return host, version == 6 or (version is None and family == "ipv6")


def _ip_version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def is_host_name(host: str) -> bool:
    """Tells whether this may be the name of a host."""
    # 1.2.3.4.5 and 300.1.1.1 are mistyped addresses, not names.
    short = len(host) <= _LONGEST_NAME and all(len(label) <= _LONGEST_LABEL for label in host.split("."))
    return short and bool(_HOST_NAME.match(host)) and not re.match(r"[0-9.]+\Z", host)


def _check_family(version: int | None, family: str, text: str, what: str) -> None:
    if version is not None and family in ("ipv4", "ipv6") and family != f"ipv{version}":
        raise Wrong(f"{what}: '{text}' says {family} of an IPv{version} address")


def _ports(port_text: str, text: str, what: str) -> range:
    first_text, dash, last_text = port_text.partition("-")
    first = units.port(first_text, f"{what} '{text}'", least=0 if not dash else 1)
    last = units.port(last_text, f"{what} '{text}'") if dash else first
    if last < first:
        raise Wrong(f"{what} '{text}': the range of ports goes backwards")
    if last - first >= _LONGEST_RANGE:
        raise Wrong(f"{what} '{text}': a range of more than {_LONGEST_RANGE} ports; each one costs a socket")
    return range(first, last + 1)


@frozen
class ServerAddress:
    """Holds the address of a server: kind "tcp" with `host` and `port`, or kind "unix" or "abns" with the path or the
    name in `host`.

    With a `host` of `CLIENTS_HOSTS` it is the address to which the client has connected; with `mapped`, so is the port,
    to which that is added.
    """

    kind: str
    host: str
    port: int | None
    mapped: int | None = None


#: Each is every address, and nobody's.
CLIENTS_HOSTS = ("0.0.0.0", "::")
_ANY = ("", "*", *CLIENTS_HOSTS)


def server_address(text: str, what: str, *, of_client: bool = False) -> ServerAddress:
    """Parses an address that is connected to. `of_client` tells that HAProxy takes one that is left out from the
    client's connection, as for servers. Raises Wrong."""
    family, rest = _family(text, what)
    if family == "fd":
        raise Wrong(not_done("fd@", "address prefix", "a server has an address"))
    if family == "unix":
        return ServerAddress("unix", unix_path(rest, what), None)
    if family == "abns":
        return ServerAddress("abns", _abstract_name(rest, what), None)
    host, port_text = _host_and_port(rest)
    if of_client and host in _ANY:
        host = "::" if host == "::" or (family == "ipv6" and host != "0.0.0.0") else "0.0.0.0"
    else:
        _check_host(host, family, text, what)
    if is_service(host) and not port_text:
        return ServerAddress("tcp", host, None)  # its SRV records say the port
    # HAProxy's manual writes a server at its client's address as 0.0.0.0:0.
    if of_client and (port_text in ("", "0") or port_text[0] in "+-"):
        return ServerAddress("tcp", host, None, units.integer(port_text or "0", f"{what}: '{text}'", -65535, 65535))
    return ServerAddress("tcp", host, _server_port(port_text, text, what))


def check_address(text: str, what: str) -> tuple[str, int | None]:
    """Parses the address of checks. Returns the host, and the port, None if that is left out. Raises Wrong.

    As in HAProxy, what stands behind the last colon is the port of an IPv6 address without brackets, too, if what is
    before it is one.
    """
    family, rest = _family(text, what)
    if family in ("unix", "abns", "fd"):
        raise Wrong(f"{what}: {not_done(f'{family}@', 'address prefix', 'checks go to an IP address, or a name')}")
    host, port_text = _host_and_port(rest)
    if _ip_version(rest) == 6 and (_ip_version(host) is None or not port_text.isdigit()):
        host, port_text = rest, ""  # such as ::ffff:192.0.2.1
    _check_host(host, family, text, what)
    return host, None if port_text in ("", "0") else _server_port(port_text, text, what)


def source_address(text: str, what: str) -> tuple[str, int]:
    """Parses the own end of connections to servers. Returns the host, "" for any, and the port, 0 for any. Raises
    Wrong."""
    family, rest = _family(text, what)
    if family in ("unix", "abns", "fd"):
        raise Wrong(f"{what}: {not_done(f'{family}@', 'address prefix', 'connections come from an IP address')}")
    host, port_text = _host_and_port(rest)
    if _ip_version(rest) == 6 and (_ip_version(host) is None or not port_text.isdigit()):
        host, port_text = rest, ""
    if re.fullmatch(r"[0-9]+-[0-9]+", port_text):
        raise Wrong(f"{what}: '{text}' has a range of ports: leave it out, and the kernel chooses a free one")
    if host in _ANY:
        host = ""
    else:
        version = _ip_version(host)
        if version is None:
            raise Wrong(f"{what}: '{host}' is no IP address")
        _check_family(version, family, text, what)
    return host, 0 if port_text in ("", "0") else _server_port(port_text, text, what)


def host_alone(text: str, what: str) -> str:
    """Parses an address that has no port, and may stand in brackets. Raises Wrong."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    _check_host(host, "", text, what)
    return host


def _check_host(host: str, family: str, text: str, what: str) -> None:
    if host in _ANY:
        raise Wrong(f"{what}: '{text}' is every address, and nobody's: write one, 127.0.0.1 for this machine")
    version = _ip_version(host)
    if version is None and not is_host_name(host):
        where = "" if host == text else f" in '{text}'"
        raise Wrong(f"{what}: '{host}'{where} is not an address")
    _check_family(version, family, text, what)


def is_service(host: str) -> bool:
    """Tells whether the name is one of SRV records, such as _http._tcp.example.com: as in HAProxy, if it begins with an
    underscore."""
    return host.startswith("_")


def is_server_address(text: str) -> bool:
    """Tells whether the text is a complete server address, port included."""
    try:
        server_address(text, "")
    except Wrong:
        return False
    return True


def nameserver_address(text: str, what: str) -> tuple[bool, str, int]:
    """Parses the address of a name server. Returns whether it is asked over TCP, its host and port. Raises Wrong."""
    prefix, at, rest = text.partition("@")
    if at and prefix not in _NAMESERVER_PREFIXES:
        if prefix in _PREFIXES or _PREFIXES_NOT_DONE.match(prefix):
            raise Wrong(f"{what}: a name server is asked over UDP, or over TCP with 'tcp@', not '{prefix}@'")
        raise Wrong(f"{what}: unknown address prefix '{prefix}@'{did_you_mean(prefix, _NAMESERVER_PREFIXES)}")
    stream, family = _NAMESERVER_PREFIXES[prefix] if at else (False, "")
    host, port_text = _host_and_port(rest if at else text)
    if not port_text:
        raise Wrong(f"{what}: the port is missing in '{text}': write '{_without_colon(text)}:53'")
    version = _ip_version(host)
    if host in ("", "*", "0.0.0.0", "::") or (version is None and not is_host_name(host)):
        raise Wrong(f"{what}: '{host}' in '{text}' is not the address of a name server")
    _check_family(version, family, text, what)
    if "-" in port_text:
        raise Wrong(f"{what}: a name server has one port, '{text}' has a range")
    return stream, host, units.port(port_text, f"{what}: '{text}'")


def _server_port(port_text: str, text: str, what: str) -> int:
    if not port_text:
        raise Wrong(f"{what}: no port in '{text}': write '{_without_colon(text)}:80', say")
    if "-" in port_text:
        raise Wrong(f"{what}: a server has one port, '{text}' has a range")
    return units.port(port_text, f"{what}: '{text}'")
