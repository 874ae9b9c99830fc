"""What each converter makes of a sample of each type, as HAProxy 2.6 and 2.8 do: data for tests in memory,
and beside HAProxy.

Binary results stand here in hexadecimal. What cannot be written into a configuration is REFUSED; None is no result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

REFUSED: Final = "(refused)"

#: Rules that fill the variables.
BEFORE = """\
    http-request set-var(txn.bin) bin(61006200)
    http-request set-var(txn.str) str(aBC)
    http-request set-var(txn.int) int(5)
    http-request set-var(txn.ip) ipv4(10.1.2.3)
    http-request set-var(txn.meth) method
"""

#: A sample of each type, binary ones with NUL and with bytes that are no ASCII, one that is absent, and variables.
INPUTS = (
    *(
        "bin(61006200)",
        "bin(80ff)",
        "str(aBC dE)",
        "str(12)",
        "str()",
        "int(-5)",
        "ipv4(10.1.2.3)",
        "ipv6(2001:db8::1)",
    ),
    *("bool(true)", "meth(GET)", "req.hdr(none)", "var(txn.bin)", "var(txn.str)", "var(txn.int)", "var(txn.ip)"),
    "var(txn.meth)",
)

#: A converter, the types that it takes and gives, and what comes out for each of these inputs.
CONVERSIONS: Final[list[tuple[str, str, str, list[str | None]]]] = json.loads(
    Path(__file__).with_name("conversions.json").read_text()
)

#: The same of converters that are newer than HAProxy 2.6, from the manual and from 2.8.
NEWER: Final[list[tuple[str, str, str, list[str | None]]]] = json.loads(
    Path(__file__).with_name("newer_conversions.json").read_text()
)

#: HAProxy 2.x finds an empty word where there is none (3.x does not), and refuses any PUBLISH of MQTT at its first byte
#: (3.x knows only at its end that it is not one of the first packets).
KNOWN_DIFFERENCES = frozenset(("str(),word(1,B)", "str(12),mqtt_is_valid"))


def asked(call: str, gives: str, sample: str) -> str:
    """The expression of one cell."""
    return f"{sample},{call},hex" if gives == "bin" else f"{sample},{call}"
