"""Runs the command `reusedproxy`, for people who do not know Twisted: `twist reusedproxy`, in the foreground, with
a log to read.

The arguments after it go to `command.Options`. A daemon is started by `twistd reusedproxy`, or by systemd.
"""

import runpy
import sys


def main() -> None:
    """Runs `twist --log-format=text reusedproxy` with the arguments of this process, and ends as it ends."""
    sys.argv[:1] = ["twist", "--log-format=text", "reusedproxy"]
    runpy.run_module("twisted", run_name="__main__")


if __name__ == "__main__":
    main()
