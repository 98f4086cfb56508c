"""Limits that keep the source readable: length of files and functions, arguments, no assert or bare except in src."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "intertwiner"
FILE_LINES = 400
FUNCTION_LINES = 60  # without the docstring
ARGUMENTS = 6  # by position; the rest keyword-only
TEXT = {".py", ".toml", ".md", ".txt", ".cff", ".html", ".js", ".css", ".json", ""}
HOME_OR_REGISTRY = re.compile(r"/(?:home|root|Users)/\w|https?://[\w.-]*(?:pypi|pythonhosted|download\.pytorch)\b")
SKIPPED = {".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", "report", "build", "dist"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(function: Function) -> int:
    first = function.body[0]
    doc = ast.get_docstring(function) is not None and isinstance(first, ast.Expr)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if doc else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def complaints(source: str) -> list[str]:
    """What a file does that the house does not."""
    found = []
    lines = source.count("\n")
    if lines > FILE_LINES:
        found.append(f"{lines} lines, at most {FILE_LINES}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            if code_lines(node) > FUNCTION_LINES:
                found.append(f"{node.lineno}: {node.name} has {code_lines(node)} lines, at most {FUNCTION_LINES}")
            count = len([a for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")])
            if count > ARGUMENTS:
                found.append(f"{node.lineno}: {node.name} takes {count} arguments by position, at most {ARGUMENTS}")
        elif isinstance(node, ast.Assert):
            found.append(f"{node.lineno}: assert")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{node.lineno}: bare except")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_house_style(path: Path) -> None:
    assert not complaints(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1\n" * 401, "401 lines"),
        ("def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
        ("def f(a, b, c, d, e, g, h): ...\n", "7 arguments"),
        ("assert True\n", "assert"),
        ("try:\n    pass\nexcept:\n    pass\n", "bare except"),
    ],
)
def test_each_limit_is_seen(source: str, complaint: str) -> None:
    (found,) = complaints(source)
    assert complaint in found


def test_nothing_names_a_home_folder_or_a_package_registry() -> None:
    found = []
    for path in REPOSITORY.rglob("*"):
        inside = path.relative_to(REPOSITORY).parts
        if inside[0] in SKIPPED or "__pycache__" in inside or not path.is_file() or path.suffix not in TEXT:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(REPOSITORY)}: {match.group()}" for match in HOME_OR_REGISTRY.finditer(text)]
    assert not found
