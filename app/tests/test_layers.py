"""Dependencies run one way: from the faces down to what everything stands on, and never between faces."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import orchestrator
import pytest

ROOT = Path(orchestrator.__file__).parent
# From the ground up. What stands on one floor does not know its neighbours there, and nothing above it.
FLOORS = (
    ("site",),
    ("models",),
    ("permissions",),
    ("streams",),
    ("people",),
    ("internal", "api", "pages", "cli"),
    ("__init__",),
    ("__main__", "gunicorn_conf", "migrations", "worker"),
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}


def imported(file: str, source: str) -> Iterator[str]:
    """The modules of the package that *source*, the text of *file*, imports anywhere; a package is its __init__."""
    package = ("orchestrator", *Path(file).parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for _, *parts in (name for name in names if name[0] == "orchestrator"):
            while parts and not (ROOT.joinpath(*parts).is_dir() or ROOT.joinpath(*parts).with_suffix(".py").exists()):
                parts.pop()  # what is imported from a module is none
            yield ".".join([*parts, "__init__"] if ROOT.joinpath(*parts).is_dir() else parts)


def name_of(file: str) -> str:
    """The module in *file* as seen from the package, such as streams.keys."""
    return file.removesuffix(".py").replace("/", ".")


FILES = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py")}
GRAPH = {name_of(file): set(imported(file, source)) for file, source in FILES.items()}


def wrong(graph: dict[str, set[str]]) -> list[str]:
    """What imports something of its own floor or of one above it, other than within its own group."""
    found = []
    for module, others in graph.items():
        group = module.partition(".")[0]
        for other in others:
            target = other.partition(".")[0]
            if group != target and FLOOR_OF[target] >= FLOOR_OF[group]:
                found.append(f"{module} imports {other}")
    return sorted(found)


def test_every_group_has_its_floor_and_knows_only_those_below() -> None:
    assert {name.partition(".")[0] for name in GRAPH} == set(FLOOR_OF)
    assert wrong(GRAPH) == []


def test_no_module_needs_itself() -> None:
    TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("pages/keys.py", "from ..api.schemas import Page", "pages.keys imports api.schemas"),
        ("pages/keys.py", "def late():\n    from .. import api", "pages.keys imports api.__init__"),
        ("api/keys.py", "from orchestrator import pages", "api.keys imports pages.__init__"),
        ("api/keys.py", "import orchestrator.internal.proxy", "api.keys imports internal.proxy"),
        ("streams/keys.py", "from ..people import tokens", "streams.keys imports people.tokens"),
        ("site/clock.py", "from .. import models", "site.clock imports models"),
        ("models.py", "from . import create_app", "models imports __init__"),
    ],
)
def test_a_shortcut_would_be_found(file: str, line: str, found: str) -> None:
    with_shortcut = set(imported(file, f"{FILES[file]}\n{line}\n"))
    assert wrong(GRAPH | {name_of(file): with_shortcut}) == [found]
