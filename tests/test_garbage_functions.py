"""No nested function refers to itself: it would be a reference cycle with all that it knows, made permanent by the next
reload."""

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import reusedproxy

PACKAGE = Path(reusedproxy.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def in_cycles(tree: ast.AST) -> list[str]:
    """The nested functions that refer to themselves, directly or by neighbours, each with its line."""
    found = []
    for outer in ast.walk(tree):
        if isinstance(outer, FUNCTIONS):
            nested = {each.name: each for each in _within(outer) if isinstance(each, FUNCTIONS[:2])}
            names = {name: _asked(each) & nested.keys() for name, each in nested.items()}
            found += [f"{nested[name].lineno}: {name}" for name in names if name in _reached(name, names)]
    return sorted(set(found))


def _within(outer: ast.AST) -> list[ast.AST]:
    """What stands in a function, but not in functions or classes within it."""
    found: list[ast.AST] = []
    for each in ast.iter_child_nodes(outer):
        found.append(each)
        if not isinstance(each, (*FUNCTIONS, ast.ClassDef)):
            found += _within(each)
    return found


def _asked(function: ast.AST) -> set[str]:
    """The names that a function, or one within it, asks for and that are not its own."""
    nodes = [*ast.walk(function)]
    names = [each for each in nodes if isinstance(each, ast.Name)]
    own = {each.id for each in names if isinstance(each.ctx, ast.Store)}
    own |= {each.arg for each in nodes if isinstance(each, ast.arg)}
    return {each.id for each in names if isinstance(each.ctx, ast.Load)} - own


def _reached(start: str, names: dict[str, set[str]]) -> set[str]:
    reached, coming = set(), [*names[start]]
    while coming:
        if (name := coming.pop()) not in reached:
            reached.add(name)
            coming += names[name]
    return reached


class ScanTests(SynchronousTestCase):
    def test_what_is_found(self) -> None:
        for text, found in (
            ("def f():\n def g(): return g\n", ["2: g"]),
            ("def f():\n def g(): return h\n def h(): return [lambda: g]\n", ["2: g", "3: h"]),
            ("def f():\n if a:\n  def g(): return partial(g)\n", ["3: g"]),
            ("def f():\n def g(): return h\n def h(): return 1\n", []),
            ("def f():\n def g():\n  g = 1\n  return g\n", []),
            ("def f():\n def g(g): return g\n", []),
            ("def f(): return f\n", []),
            ("class A:\n def f(self): return self.f\n", []),
        ):
            with self.subTest(text=text):
                self.assertEqual(in_cycles(ast.parse(text)), found)

    def test_this_program(self) -> None:
        files = sorted(PACKAGE.rglob("*.py"))
        found = [
            f"{each.relative_to(PACKAGE)}:{line}" for each in files for line in in_cycles(ast.parse(each.read_text()))
        ]
        self.assertEqual(found, [], "make it a method of a small class")
