"""Defines the kinds of connection that a request may be given, from any at all to one that has never stood idle.

A request of a smaller kind may be given whatever one of a larger kind may. `exchanges.reuse` says which kind
a request gets.
"""

from typing import Final

#: Any connection.
ANY: Final = 0
#: A connection so lately known alive that it will hardly close under the request, or a new one.
FRESH: Final = 1
#: A connection that has carried a request which was not its client's first, or a new one.
SAFE: Final = 2
#: A connection that has never stood idle.
NEW: Final = 3
