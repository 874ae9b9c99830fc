"""Runs the command `reusedproxy`, for people who do not know Twisted: `twist reusedproxy`, in the foreground, with
a log to read.

The arguments after it go to `command.Options`. A daemon is started by `twistd reusedproxy`, or by systemd.
"""

import runpy
import sys
from importlib.util import find_spec

from reusedproxy.daemon.signals import hold_back


def main() -> None:
    """Runs `twist --log-format=text reusedproxy` with the arguments of this process, and ends as it ends."""
    hold_back()
    if find_spec("twisted.__main__") is None:
        sys.exit(f"reusedproxy needs Twisted, which {sys.executable} does not have: pip install .")
    sys.argv[:1] = ["twist", "--log-format=text", "reusedproxy"]
    runpy.run_module("twisted", run_name="__main__")


if __name__ == "__main__":
    main()
