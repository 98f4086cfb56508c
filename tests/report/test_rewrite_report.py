"""The page of a rewrite: names stay words, nothing is fetched, and every point of the curve is in the picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import headless
import pytest
from rich.console import Console

from intertwiner.errors import InvalidRecord
from intertwiner.report.rewrite_fields import checked_rewrite, rewrite_json
from intertwiner.report.rewrite_page import to_rewrite_html
from intertwiner.report.rewrite_text import print_rewrite
from intertwiner.report.tradeoff_curve import accuracy_curve, distance_curve

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src="http://intertwiner.invalid/x.png" onerror=alert(1)>',
    "</style></title></svg><script src=//intertwiner.invalid/x.js></script>",
    "{{ 7 * 7 }}",
    "\x1b[31m\u202e<b>",
]
WIDTHS = {0.25: [18, 40, 20, 1], 0.5: [18, 64, 42, 1], 1.0: [18, 96, 63, 1], 2.0: [18, 136, 97, 1]}


def certificate(budget: float = 1.0, name: str = "fc1:out", *, labels: bool = True, order: int = 8) -> dict[str, Any]:
    """A certificate of a twin at a budget, with names of our choice."""
    cost = int(7936 * budget)
    return {
        "verdict": {"kind": "PROVED", "claim": f"equivariant for {name}", "reason": f"because of {name}", "exact": True,
                    "bound": 0.0, "box": "", "theorem": "", "hypotheses": {}, "witness": None},
        "group": f"D4 {name}", "order": order, "method": "selected", "dtype": "float32",
        "defect_float64": 2.1e-16, "defect_float32": 1.4e-7, "original_defect": 0.0217, "noise_floor": 1.3e-7,
        "distance_original": 0.1 / budget, "distance_average": 0.0988 / budget, "average_exact": True,
        "original_distance_average": 0.0129,
        "accuracy": {"twin": 0.9 + budget / 50, "original": 0.925, "average": 0.95} if labels else {},
        "widths": WIDTHS.get(budget, [18, 8, 8, 1]), "original_widths": [18, 96, 64, 1],
        "parameters": {"twin": cost + 161, "original": 8097, "free": 422},
        "multiply_adds": {"twin": cost, "original": 7936, "averaging": 7936 * order},
        "seconds": {"batch": 256.0, "twin": 3.6e-5, "original": 6e-5, "averaging": 9e-4},
        "averaging_measured": order <= 64, "data": f"5478 samples of {name}", "seed": 0,
        "layers": [
            {"name": name, "orbits_offered": [4, 4, 2, 1], "orbits_chosen": [4, 4, 1], "explained": [0.5, 0.7, 0.93],
             "refit_rank": 9, "refit_condition": 31.5, "refit_error": 0.24},
            {"name": "fc2:out", "orbits_offered": [4], "orbits_chosen": [4], "explained": [0.875], "refit_rank": 4,
             "refit_condition": 2.5, "refit_error": 0.125},
        ],
    }  # fmt: skip


def record(name: str = "fc1:out", *, curve: bool = True, **more: Any) -> dict[str, Any]:
    points = [
        {"budget": b, "folder": f"twin {name}/{b:g}", "certificate": certificate(b, name, **more)} for b in WIDTHS
    ]
    return {
        "schema": "intertwiner.rewrite/1",
        "network": {"name": name, "dtype": "float32"},
        "symmetry": {"input": name, "output": name},
        "data": {"source": name, "labels": name, "note": name},
        "finetune": 0.0,
        "twin": points[2],
        "curve": points if curve else [],
        "left_out": [{"budget": 0.01, "reason": name}],
        "environment": {"torch": name},
        "notes": [name],
    }


class Skeleton(HTMLParser):
    """Every tag with the names of its attributes, the words, and every address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[Any, ...]] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_name_changes_words_and_never_the_skeleton(attack: str) -> None:
    harmless, hostile = (Skeleton(to_rewrite_html(record(name))) for name in ("name", attack))
    assert hostile.tags == harmless.tags
    assert not any(tag[0] in ("script", "img") or any(a.startswith("on") for a in tag[1:]) for tag in hostile.tags)
    assert hostile.addresses == harmless.addresses


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.isprintable()])
def test_the_name_is_still_shown(attack: str) -> None:
    assert f"because of {attack}" in "".join(Skeleton(to_rewrite_html(record(attack))).words)


def test_an_unescaped_name_would_be_seen() -> None:
    """Negative control of the comparison of skeletons."""
    page = to_rewrite_html(record("name"))
    assert Skeleton(page.replace("because of name", ATTACKS[0])).tags != Skeleton(page).tags


def test_widths_that_are_no_numbers_are_escaped_in_the_picture() -> None:
    hostile = record()
    hostile["curve"][0]["certificate"]["widths"] = ["<script>alert(1)</script>"]
    page = to_rewrite_html(hostile)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_nothing_is_fetched() -> None:
    page = to_rewrite_html(record())
    assert set(Skeleton(page).addresses) <= {"data:,", *(f"#{a}" for a in re.findall(r'id="([\w-]+)"', page))}
    # The name space of SVG is the only thing that looks like an address, and nothing asks for it.
    assert not re.search(r"https?://", page.replace("http://www.w3.org/2000/svg", ""))
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", page)


def test_the_sections_say_what_was_measured() -> None:
    page = to_rewrite_html(record())
    for words in ("Before and after", "The curve", "Layer by layer", "Measured on what", "What is not checked"):
        assert f"<h2>{words}</h2>" in page
    shown = " ".join("".join(Skeleton(page).words).split())
    for words in (
        "18-96-64-1 became 18-96-63-1: 1 x the multiply-adds", "3 of 4", "2 of 4, 1 of 1", "93.0 %", "31.5", "0.240",
        'iw.load("twin fc1:out/1")', "noise floor 1.30e-07", "data that the twin was fitted to",
    ):  # fmt: skip
        assert words in shown


def test_a_record_of_one_twin_has_no_curve() -> None:
    page = to_rewrite_html(record(curve=False))
    assert "The curve" not in page
    assert "<svg" in page  # the bars of the layers


def test_figures_that_were_not_measured_are_dashes() -> None:
    bare = {"verdict": certificate()["verdict"], "group": "C2"}
    least = {"schema": "intertwiner.rewrite/1", "network": {"name": "net"}}
    page = to_rewrite_html(least | {"twin": {"budget": 1.0, "certificate": bare}, "curve": []})
    assert "–" in page
    out = StringIO()
    print_rewrite(least | {"twin": {"budget": 1.0, "certificate": bare}}, Console(file=out, width=80))
    assert "PROVED" in out.getvalue()


def marks(picture: Any, kind: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(picture.markup)
    return [e for e in root.iter() if kind in (e.get("class") or "").split() and e.tag in ("circle", "rect")]


@pytest.mark.parametrize("draw", [distance_curve, accuracy_curve])
def test_every_point_of_the_curve_is_in_the_picture(draw: Any) -> None:
    picture = draw(record()["curve"], 1.0)
    assert len(marks(picture, "twin")) == 3
    assert [len(marks(picture, kind)) for kind in ("chosen", "original", "average")] == [1, 1, 1]
    texts = [e.text for e in ElementTree.fromstring(picture.markup).iter("text")]
    for widths in WIDTHS.values():
        assert "-".join(map(str, widths)) in texts
    assert "original" in texts
    assert "group average" in texts


def test_cost_is_logarithmic_and_less_distance_lies_lower() -> None:
    picture = distance_curve(record()["curve"], 1.0)
    assert picture is not None
    circles = sorted(
        (float(c.get("cx", 0)), float(c.get("cy", 0))) for c in marks(picture, "mark") if c.tag == "circle"
    )
    steps = [b[0] - a[0] for a, b in pairwise(circles)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.5)
    assert [y for _, y in circles] == sorted(y for _, y in circles)


def test_accuracy_stands_higher_where_it_is_better() -> None:
    picture = accuracy_curve(record()["curve"], 1.0)
    assert picture is not None
    circles = sorted(
        (float(c.get("cx", 0)), float(c.get("cy", 0))) for c in marks(picture, "mark") if c.tag == "circle"
    )
    assert [y for _, y in circles] == sorted((y for _, y in circles), reverse=True)


def test_without_labels_there_is_no_accuracy() -> None:
    plain = record(labels=False)
    assert accuracy_curve(plain["curve"], 1.0) is None
    page = to_rewrite_html(plain)
    assert page.count('class="tradeoff"') == 1
    assert "ccuracies are" not in page


def test_averaging_over_a_large_group_stands_at_the_edge() -> None:
    points = record(order=14400)["curve"]
    picture = distance_curve(points, 1.0)
    assert picture is not None
    assert "group average, 14,400 x →" in picture.markup
    near, far = (marks(distance_curve(record(order=n)["curve"], 1.0), "average")[0] for n in (8, 14400))
    assert float(far.get("x", 0)) <= 980 - 40
    assert float(near.get("x", 0)) <= float(far.get("x", 0))


def test_twins_that_coincide_are_one_point_with_both_budgets() -> None:
    """A lift comes back the same at every budget that holds it."""
    points = record()["curve"][:2]
    points[1] = points[0] | {"budget": 0.5}
    picture = distance_curve(points, 0.25)
    assert picture is not None
    (dot,) = marks(picture, "chosen")
    assert not marks(picture, "twin")
    assert dot[0].text is not None
    assert dot[0].text.endswith("budget 0.25, 0.5")


def test_labels_do_not_stand_on_each_other() -> None:
    """Budgets close together: the boxes that the labels fill are apart."""
    points = [
        {"budget": b, "folder": None, "certificate": certificate(b)} for b in (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)
    ]
    picture = distance_curve(points, 1.0)
    assert picture is not None
    texts = [e for e in ElementTree.fromstring(picture.markup).iter("text") if e.get("class") != "head"]
    boxes = []
    for e in texts:
        x, y, length = float(e.get("x", 0)), float(e.get("y", 0)), 7.2 * len(e.text or "")
        boxes.append((x if e.get("text-anchor") == "start" else x - length, y - 11, length))
    for n, (x, y, length) in enumerate(boxes):
        for other, low, reach in boxes[:n]:
            assert x >= other + reach or other >= x + length or abs(y - low) >= 14


def test_a_record_that_is_none_is_refused() -> None:
    wrong = record()
    wrong["twin"]["certificate"]["defect_float64"] = "small"
    with pytest.raises(InvalidRecord, match=r"twin.certificate.defect_float64: expected number"):
        to_rewrite_html(wrong)
    with pytest.raises(InvalidRecord, match="schema"):
        rewrite_json(record() | {"schema": "intertwiner.audit/1"})


def test_a_figure_that_is_no_number_becomes_null_and_is_said() -> None:
    lost = record(curve=False)
    lost["twin"]["certificate"]["distance_average"] = float("nan")
    assert checked_rewrite(lost)["twin"]["certificate"]["distance_average"] is None
    assert "NaN" not in rewrite_json(lost)
    assert "the measurement gave nan" in to_rewrite_html(lost)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_terminal_sees_no_control_character_and_no_markup(attack: str) -> None:
    out = StringIO()
    print_rewrite(record(attack), Console(file=out, width=100))
    assert all(c.isprintable() or c == "\n" for c in out.getvalue())
    assert "0.0988" in out.getvalue()


def test_the_terminal_table_fits_into_eighty_columns() -> None:
    out = StringIO()
    print_rewrite(record(), Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:3] == ["1*", "18-96-63-1", "1"] for line in lines)
    assert any(line.split() == ["defect,", "float32", "0.0217", "–", "1.40e-07"] for line in lines)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[headless.Browser]:
    binary = headless.chromium()
    if binary is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(headless.NAMES)}): the report is not opened")
    with headless.running(binary, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("name", ["fc1:out", *ATTACKS[:3]])
def test_a_browser_asks_nothing_of_the_network_and_nothing_is_cut(
    browser: headless.Browser, tmp_path: Path, name: str
) -> None:
    place = tmp_path / "report.html"
    place.write_text(to_rewrite_html(record(name)), encoding="utf-8")
    page = browser.open_page(place)
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    for width in (1100, 420):
        page.resize(width, 1400)
        assert page.ask("document.documentElement.scrollWidth") <= width
