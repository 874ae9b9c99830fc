"""The command `reusedproxy`, for people who do not know Twisted: `twist reusedproxy`, in the foreground, with a log to read.

What stands behind it on the command line goes to `command.Options`. A daemon is started by `twistd reusedproxy`, or by systemd.
"""

import runpy
import sys


def main() -> None:
    """Run `twist --log-format=text reusedproxy` with the arguments of this process, and end as it ends."""
    sys.argv[:1] = ["twist", "--log-format=text", "reusedproxy"]
    runpy.run_module("twisted", run_name="__main__")


if __name__ == "__main__":
    main()
