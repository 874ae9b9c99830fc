"""Is what `twist` and `twistd` import for reusedproxy: holds back signals, then loads the program.

Loading it takes half a second, in which SIGHUP would end the process. The plugin itself may not do this: it is imported
for whatever program of Twisted's is run.
"""

from reusedproxy.daemon.signals import hold_back

hold_back()

from reusedproxy.command import Options, makeService  # noqa: E402

__all__ = ["Options", "makeService"]
