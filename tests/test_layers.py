"""Imports go downward only: the layers of the house, from the top."""

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import reusedproxy

PACKAGE = Path(reusedproxy.__file__).parent

#: Each may import those that stand after it, and itself.
LAYERS = [
    "command",
    "demo",
    "daemon",
    "build",
    "operators",
    "clients",
    "exchanges",
    "backends",
    "pool",
    "net",
    "rules",
    "measures",
    "wire",
    "config",
]

#: Layers whose modules still import each other in a circle.
CIRCULAR = {"backends", "pool"}

#: What the pure layers may use besides themselves; everything else is out of their reach.
PURE = {"wire", "config", "rules", "measures"}


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
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All modules that importing `start` leads to; itself only by a circle."""
    found: set[str] = set()
    left = [start]
    while left:
        for other in graph[left.pop()] - found:
            found.add(other)
            left.append(other)
    return found


class LayerTests(SynchronousTestCase):
    """What knows whom."""

    def sources(self):
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

    def test_no_modules_import_each_other_in_a_circle(self) -> None:
        """Not even for types: who is below says in a Protocol what it needs of who is above."""
        names = {module_of(path): path for path in self.sources()}
        graph = {}
        for name, path in names.items():
            found = imports_of(path)
            graph[name] = {other for each in found for other in (each, each.rpartition(".")[0]) if other in names}
        circular = {layer_of(names[name]) for name in graph if name in reachable(graph, name)}
        self.assertEqual(circular - CIRCULAR, set())

    def test_pure_layers_know_no_network(self) -> None:
        """The wire and the configuration are bytes and values: no Twisted, no OpenSSL, no sockets, no clock."""
        wrong = []
        for path in self.sources():
            if layer_of(path) in PURE:
                for name in imports_of(path):
                    if name == "time.thread_time":
                        continue  # the processor time that one has taken oneself is no clock
                    if name.split(".")[0] in {"twisted", "OpenSSL", "socket", "select", "time", "logging", "os"}:
                        wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
        self.assertEqual(wrong, [])

    def test_nobody_imports_the_reactor_but_the_entry_point(self) -> None:
        """Clock and reactor come in by argument, so that a test can own them."""
        importing = {layer_of(path) for path in self.sources() if "twisted.internet.reactor" in imports_of(path)}
        self.assertEqual(importing - {"command"}, set())
