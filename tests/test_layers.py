"""Imports go downward only: the layers of the house, from the top."""

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import reusedproxy

PACKAGE = Path(reusedproxy.__file__).parent

#: Each may import those that stand after it, and itself.
#: The processor time that one has taken oneself, and what only writes a date, are no clocks.
NO_CLOCK = ("time.thread_time", "time.gmtime", "time.localtime", "time.strftime")
LAYERS = [
    "__main__",
    "entry",
    "command",
    "demo",
    "doctor",
    "daemon",
    "build",
    "operators",
    "clients",
    "streams",
    "exchanges",
    "sessions",
    "backends",
    "pool",
    "net",
    "rules",
    "tables",
    "measures",
    "wire",
    "config",
]

#: Layers of living objects, which operators' modules see only as `operators.view` reads them.
LIVING = {"build", "daemon", "clients", "streams", "exchanges", "sessions", "backends", "pool", "net"}

#: Functions of values, which they may import of these all the same.
FUNCTIONS = {
    "reusedproxy.exchanges.own_answers.answer",
    "reusedproxy.exchanges.own_answers.error_page",
    "reusedproxy.exchanges.serving.Made",
    "reusedproxy.net.slices.Steps",
    "reusedproxy.net.slices.run_through",
    "reusedproxy.net.tls.files.certificates_in",
    "reusedproxy.net.tls.files.certificates_of",
    "reusedproxy.net.tls.words.name_of",
}

#: What the pure layers may use besides themselves; everything else is out of their reach.
PURE = {"wire", "config", "rules", "tables", "measures"}


def imports_of(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def is_living(name: str) -> bool:
    """Whether a living layer defines this."""
    return name.startswith("reusedproxy.") and name.split(".")[1] in LIVING


def is_value(name: str) -> bool:
    """Whether this is a constant, as its capitals tell, or a function of values."""
    return name.rpartition(".")[2].isupper() or name in FUNCTIONS


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Those that remain when again and again whoever knows nobody is taken out, and whom nobody knows."""
    left = dict(graph)
    while True:
        known = {other for others in left.values() for other in others if other in left}
        rest = {name: others for name, others in left.items() if name in known and others & left.keys()}
        if len(rest) == len(left):
            return [[name, *sorted(others & left.keys())] for name, others in sorted(left.items())]
        left = rest


class LayerTests(SynchronousTestCase):
    """What knows whom."""

    def sources(self) -> list[Path]:
        return [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.stem != "__init__"]

    def test_every_source_belongs_to_a_layer(self) -> None:
        """A new folder must be given its place in the order."""
        self.assertEqual({layer_of(path) for path in self.sources()} - set(LAYERS), set())

    def test_imports_go_downward_only(self) -> None:
        """No layer knows one above it."""
        wrong = []
        for path in self.sources():
            own = LAYERS.index(layer_of(path))
            for name in imports_of(path):
                if name.startswith("reusedproxy."):
                    other = name.split(".")[1]
                    if other in LAYERS and LAYERS.index(other) < own:
                        wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
        self.assertEqual(wrong, [])

    def test_requests_and_streams_know_nothing_of_each_other(self) -> None:
        """What they have in common is in `sessions`."""
        wrong = []
        for layer, other in (("streams", "exchanges"), ("exchanges", "streams")):
            for path in (PACKAGE / layer).rglob("*.py"):
                wrong += [name for name in imports_of(path) if name.startswith(f"reusedproxy.{other}.")]
        self.assertEqual(wrong, [])

    def test_no_circles(self) -> None:
        """No module knows one that knows it, directly or by way of others, not even for types only."""
        modules = {module_of(path): path for path in self.sources()}
        graph = {
            module: {
                name if name in modules else name.rpartition(".")[0]
                for name in imports_of(path)
                if name in modules or name.rpartition(".")[0] in modules
            }
            for module, path in modules.items()
        }
        self.assertGreater(sum(map(len, graph.values())), 100)
        self.assertEqual(circles(graph), [])

    def test_a_circle_is_seen(self) -> None:
        """And who only leads to it, or away from it, is no part of it."""
        graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"f"}, "f": set()}
        self.assertEqual([circle[0] for circle in circles(graph)], ["b", "c"])

    def test_pure_layers_know_no_network(self) -> None:
        """The wire and the configuration are bytes and values: no Twisted, no OpenSSL, no sockets, no clock."""
        wrong = []
        for path in self.sources():
            if layer_of(path) in PURE:
                for name in imports_of(path):
                    if name in NO_CLOCK:
                        continue
                    if name.split(".")[0] in {"twisted", "OpenSSL", "socket", "select", "time", "logging", "os"}:
                        wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
        self.assertEqual(wrong, [])

    def test_only_the_view_reads_living_objects(self) -> None:
        """Statistics, metrics and warnings of expiry are made of plain data, which worker processes can add up."""
        operators = PACKAGE / "operators"
        paths = [*operators.glob("stats/*.py"), *operators.glob("metrics/*.py"), operators / "logs" / "expiry.py"]
        paths += [
            operators / "runtime" / f"{name}.py" for name in ("commands", "info", "servers", "statistics", "typed")
        ]
        known = [(path, name) for path in paths for name in imports_of(path) if is_living(name)]
        wrong = [f"{path.relative_to(PACKAGE)} imports {name}" for path, name in known if not is_value(name)]
        self.assertGreater(len(known), 10)
        self.assertEqual(wrong, [])

    def test_nobody_imports_the_reactor_but_the_entry_point(self) -> None:
        """Clock and reactor come in by argument, so that a test can own them."""
        importing = {layer_of(path) for path in self.sources() if "twisted.internet.reactor" in imports_of(path)}
        self.assertEqual(importing - {"command"}, set())
