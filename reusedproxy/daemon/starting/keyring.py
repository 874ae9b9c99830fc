"""Leaves the kernel's keyring of whoever started the program (session-keyring(7)).

A login of root's has a session keyring with a link to root's own keys: cached pass phrases, Kerberos tickets. A process
keeps it when it becomes another user, and whoever possesses a keyring may read and change what is in it. systemd gives
services one of their own (KeyringMode=private); init scripts and people do not.
"""

from __future__ import annotations

import ctypes
import os
import struct

#: The number of keyctl(2) for 64-bit processes, by machine (as uname(1) says it).
_KEYCTL = {
    "x86_64": 250,
    "aarch64": 219,
    "riscv64": 219,
    "loongarch64": 219,
    "ppc64le": 271,
    "ppc64": 271,
    "s390x": 280,
}
_JOIN_SESSION_KEYRING = 1


def leave_keyring() -> bool:
    """Puts an empty session keyring in place of the one that root's process has, for it and its children.

    To be called before there are threads, which would keep theirs. Returns False where that is not possible: another
    user has no other's keys, a kernel without keyrings has none, and container runtimes forbid the call for all.
    """
    number = _KEYCTL.get(os.uname().machine)
    if os.geteuid() != 0 or number is None or struct.calcsize("P") != 8:
        return False
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION_KEYRING), None)) >= 0
