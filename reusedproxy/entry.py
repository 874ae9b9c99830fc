"""Is what `twist` and `twistd` import for reusedproxy: holds back signals, then loads the program.

Loading it takes half a second, in which SIGHUP would end the process. The plugin itself may not do this: it is imported
for whatever program of Twisted's is run.
"""

import gc
from importlib import import_module
from linecache import clearcache

from reusedproxy.daemon.signals import hold_back

hold_back()

# What is loaded stays as long as the process. The garbage collector would look through it 250 times meanwhile, in vain,
# which is a sixth of the time that a start takes (0.63 s of CPU with it, 0.53 s without).
_collects = gc.isenabled()
gc.disable()

# The classes' generated methods leave their source for debuggers: 1.3 MiB, which the next modules use.
for name in ("reusedproxy.config.model", "reusedproxy.config.reader", "reusedproxy.build.assembly"):
    import_module(name)
    clearcache()

from reusedproxy.command import Options, makeService  # noqa: E402

clearcache()
gc.freeze()
if _collects:
    gc.enable()

__all__ = ["Options", "makeService"]
