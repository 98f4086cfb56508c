"""The order of the house: imports point downwards, torch stays above floor 1, what is imported is declared."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "intertwiner"

FLOORS = {
    "errors": -1,
    "verdict": 0,
    "numerics": 0,
    "algebra": 1,
    "gauge": 1,
    "report": 1,
    "network": 2,
    "symmetry": 2,
    "transport": 3,
    "exact": 3,
    "identify": 4,
    "audit": 5,
    "discover": 5,
    "training": 5,
    "variety": 5,
    "rewrite": 6,
    "testing": 7,
    "bundled": 7,
    "cli": 8,
    "__init__": 9,
    "__main__": 10,
}
ONLY_ERRORS = {"report"}  # it renders plain records, so it needs no other room
LEAVES = {"interop"}  # imported by nobody, may import everything, their extra inside functions
TORCH_FREE_UP_TO = 1

# networks.py rebuilds the third-party networks of the optional folder beside the repository.
OPTIONAL_NEIGHBOURS = {"networks"}

# Where the name to import differs from the name to install.
DISTRIBUTION = {"flint": "python-flint", "yaml": "pyyaml", "PIL": "pillow"}


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Every module a file imports, absolute, with its line; ``from intertwiner import x`` counts as x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(filter(None, [".".join(parents[: len(parents) - node.level + 1]), base]))
            if base == "intertwiner":
                for alias in node.names:
                    yield f"intertwiner.{alias.name}", node.lineno
            else:
                yield base, node.lineno


def package_of(path: Path) -> str:
    return ".".join(("intertwiner", *path.relative_to(SOURCE).parts[:-1]))


def violations(source: str, path: Path) -> list[str]:
    """What is wrong with the imports of one file, in words."""
    room = room_of(path)
    if room in LEAVES:
        return []
    found = []
    floor = FLOORS.get(room)
    if floor is None:
        return [f"{path.name}: the room {room!r} stands on no floor; add it to FLOORS"]
    for module, line in imported_modules(ast.parse(source), package_of(path)):
        where = f"{room}/{path.name}:{line} imports {module}"
        top, *rest = module.split(".")
        if top == "torch" and floor <= TORCH_FREE_UP_TO:
            found.append(f"{where}: no torch on floor {floor}")
        if top != "intertwiner":
            continue
        other = rest[0] if rest else "__init__"
        if other not in FLOORS and other not in LEAVES:
            other = "__init__"  # a public name of the root package
        if other == room:
            continue
        if other in LEAVES:
            found.append(f"{where}: leaves are imported by nobody")
        elif FLOORS[other] >= floor:
            found.append(f"{where}: floor {FLOORS[other]} from floor {floor}")
        elif room in ONLY_ERRORS and other != "errors":
            found.append(f"{where}: {room} imports no other room")
    return found


def declared() -> dict[str, set[str]]:
    """Distribution names by extra, "" for the package itself."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {requirement.split(">")[0].split("=")[0].split("[")[0].strip().lower() for requirement in requirements}

    return {"": names(project["dependencies"])} | {
        extra: names(requirements) for extra, requirements in project["optional-dependencies"].items()
    }


def undeclared(paths: list[Path], allowed: set[str]) -> list[str]:
    # Test helpers and the modules that a benchmark or script finds in its own folder.
    local = {"intertwiner", *(p.stem for p in paths), *(p.parent.name for p in paths)}
    out = []
    for path in paths:
        for module, line in imported_modules(ast.parse(path.read_text(encoding="utf-8")), ""):
            top = module.split(".")[0]
            if not top or top in sys.stdlib_module_names or top in local:
                continue
            if DISTRIBUTION.get(top, top).lower() not in allowed:
                out.append(f"{path.relative_to(REPOSITORY)}:{line} imports {top}")
    return out


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    assert not violations(path.read_text(encoding="utf-8"), path)


@pytest.mark.parametrize(
    ("room", "source", "complaint"),
    [
        ("algebra/group.py", "import torch", "no torch"),
        ("gauge/pointwise.py", "def f():\n    from torch import nn", "no torch"),
        ("gauge/match.py", "from intertwiner.algebra import Group", "floor 1 from floor 1"),
        ("algebra/group.py", "from intertwiner import audit", "floor 5 from floor 1"),
        ("audit/run.py", "import intertwiner as iw", "floor 9 from floor 5"),
        ("network/graph.py", "from ..symmetry import Symmetry", "floor 2 from floor 2"),
        ("report/html.py", "from intertwiner.verdict import Verdict", "imports no other room"),
        ("audit/run.py", "from intertwiner.interop import onnx", "leaves"),
        ("attic/box.py", "import numpy", "no floor"),
    ],
)
def test_a_wrong_import_is_seen(room: str, source: str, complaint: str) -> None:
    found = violations(source, SOURCE / room)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("algebra/group.py", "from intertwiner.errors import GroupError\nfrom .subgroup import Subgroup"),
        ("audit/run.py", "import torch\nfrom intertwiner.network import Network"),
        ("cli.py", "from intertwiner.testing import selfcheck\nfrom intertwiner import bundled"),
    ],
)
def test_a_right_import_is_let_through(room: str, source: str) -> None:
    assert not violations(source, SOURCE / room)


def test_every_import_of_the_package_is_declared() -> None:
    extras = declared()
    leaves = [p for p in files() if room_of(p) in LEAVES]
    assert not undeclared([p for p in files() if p not in leaves], extras[""])
    assert not undeclared(leaves, set().union(*extras.values()))


def test_every_import_of_tests_benchmarks_and_scripts_is_declared() -> None:
    allowed = set().union(*declared().values())
    for folder in ("tests", "benchmarks", "scripts"):
        assert not undeclared(sorted((REPOSITORY / folder).rglob("*.py")), allowed | OPTIONAL_NEIGHBOURS)


def test_an_undeclared_import_is_seen() -> None:
    assert undeclared([REPOSITORY / "tests" / "test_floors.py"], set())


def test_nothing_is_declared_in_vain() -> None:
    """Every dependency of the package is imported somewhere in it."""
    used = set()
    for path in files():
        for module, _ in imported_modules(ast.parse(path.read_text(encoding="utf-8")), package_of(path)):
            top = module.split(".")[0]
            used.add(DISTRIBUTION.get(top, top).lower())
    assert declared()[""] <= used
