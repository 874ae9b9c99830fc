"""Reads the name servers of /etc/resolv.conf, as `parse-resolv-conf` wants them."""

from __future__ import annotations

from ipaddress import ip_address

from reusedproxy.net.files import MEBIBYTE, read_file

PATH = "/etc/resolv.conf"
_PORT = 53


def nameservers_in(path: str = PATH) -> tuple[list[tuple[str, int]], list[str]]:
    """Returns the addresses and ports of the name servers, and what is wrong with other lines. Raises OSError."""
    text = read_file(path, MEBIBYTE).decode("utf-8", "replace")
    found: dict[tuple[str, int], None] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0] != "nameserver":
            continue
        if len(words) < 2:
            wrong.append(f"{path}:{number}: 'nameserver' without an address")
            continue
        try:
            address = ip_address(words[1])
        except ValueError:
            wrong.append(f"{path}:{number}: '{words[1]}' is not an address, so this name server is not asked")
            continue
        found[str(address), _PORT] = None
    return [*found], wrong
