"""Names come from other people's modules and files: whatever they spell, the report stays a report."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "report"))

import sample

from intertwiner.report import to_html, to_text

TEMPLATES = Path(__file__).resolve().parents[2] / "src" / "intertwiner" / "report" / "templates"

ATTACKS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '" onload="alert(1)" x="',
    "<img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</svg></text><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}{{ self.__init__ }}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x00<script>\x1balert(1)\u2028</script>",
    "\ufeff\u202e<svg/onload=alert(1)>",
]


class Skeleton(HTMLParser):
    """Every tag with the names of its attributes: what a page is, apart from its words."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[Any, ...]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        for name, value in attrs:
            if name in ("href", "src"):
                assert (value or "").startswith(("#tap-", "#", "data:")), value

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def skeleton(page: str) -> Skeleton:
    parser = Skeleton()
    parser.feed(page)
    parser.close()
    return parser


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_name_changes_words_and_never_the_skeleton(attack: str) -> None:
    harmless, hostile = skeleton(to_html(sample.hostile("name"))), skeleton(to_html(sample.hostile(attack)))
    assert hostile.tags == harmless.tags
    assert not any(tag[0] == "script" or any(name.startswith("on") for name in tag[1:]) for tag in hostile.tags)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.isprintable()])
def test_the_name_is_still_shown(attack: str) -> None:
    assert f"{attack}ShapeNet" in "".join(skeleton(to_html(sample.hostile(attack))).words)


def test_what_is_no_template_is_not_run() -> None:
    assert "49ShapeNet" not in to_html(sample.hostile("{{ 7 * 7 }}"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_terminal_sees_no_control_character(attack: str) -> None:
    text = to_text(sample.hostile(attack), 100)
    assert all(c.isprintable() or c == "\n" for c in text)


def test_templates_trust_nothing() -> None:
    """No template switches the escaping off, runs a script or names an address."""
    for template in TEMPLATES.iterdir():
        source = template.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape\s+false|<script|https?:|\son\w+=", source), template.name


def test_the_page_forbids_what_it_does_not_need() -> None:
    page = to_html(sample.minimal())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]


def test_an_unescaped_name_would_be_seen() -> None:
    """Negative control: the comparison of skeletons does catch what it is there for."""
    page = to_html(sample.minimal())
    assert skeleton(page.replace("fc1:out", "<script>alert(1)</script>")).tags != skeleton(page).tags
