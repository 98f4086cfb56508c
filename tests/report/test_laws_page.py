"""The page of conservation laws: what stands on it, that names stay text, and that it is whole in a real browser."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import headless
import pytest

from intertwiner.errors import InvalidRecord
from intertwiner.report.laws_fields import checked_laws
from intertwiner.report.laws_page import to_laws_html, write_laws
from intertwiner.report.laws_pictures import drift_curves, growth, shares, values_strip

HOSTILE = "</style></title></svg><script src=//intertwiner.invalid/x.js></script>"


def verdict(kind: str = "PROVED") -> dict[str, Any]:
    return {"kind": kind, "claim": "the 9 laws are all", "reason": "the bounds meet", "exact": kind == "PROVED"}


def count(least: int = 9, most: int = 9) -> dict[str, Any]:
    """A count; ranks at depth 0, 1, 2."""
    return {
        "network": "net", "parameters": 56, "known": 8, "least": least, "most": most,
        "ranks": [[30, 44, 56 - most]], "primes": [67108859], "seed": 0, "verdict": verdict(), "seconds": 0.25,
    }  # fmt: skip


def family(formula: str = "|0.weight[i]|^2 - |2.weight[:, i]|^2", kind: str = "balance") -> dict[str, Any]:
    return {
        "kind": kind, "where": "0", "group": "positive scales of 5 coordinates", "formula": formula, "count": 5,
        "exact": True, "because": "", "holds": "", "pieces": [],
    }  # fmt: skip


def monitor(name: str = "a^2 - b^2") -> dict[str, Any]:
    drift = {"formula": name, "count": 5, "worst": 2e-3, "predicted_worst": 2e-3, "unexplained": 1e-9, "floor": 3e-7,
             "sampled": False, "note": "weight decay 0.1: decays"}  # fmt: skip
    curve = {"formula": name, "measured": [0.0, 1e-3, None, 2e-3, 2e-3], "predicted": [0.0, 1e-3, 1e-3, 2e-3, None]}
    history = {"steps": [0, 10, 20, 30, 40], "rates": [None, 0.1, 0.1, 0.05, 0.05], "families": [curve, curve]}
    return {"steps": 40, "every": 1, "optimizer": "SGD", "broke_at": None, "drift": [drift], "history": history}


def record(**more: Any) -> dict[str, Any]:
    return {
        "schema": "intertwiner.conservation/1", "network": {"name": "net", "parameters": 56}, "loss": "cross entropy",
        "training": True, "assumed": ["plain gradient flow"], "families": [family(), family("M[i, j]", "matrix")],
        "rates": [1e-16, 2e-16], "count": count(), "verdict": verdict(), **more,
    }  # fmt: skip


def full() -> dict[str, Any]:
    nearly = family("|conv.weight[i]|^2") | {"exact": False, "because": "the epsilon of batch norm"}
    symmetric = {
        "group": "C4",
        "inputs": "C4: E",
        "outputs": "C4: A",
        "without": count(),
        "with_symmetry": count(9, 12),
    }
    return record(
        families=[family(), nearly, family("sum 4.bias", "shift") | {"holds": "cross entropy"}],
        rates=[1e-16, 1e-4, 2e-17],
        values=[[1.0, 2.0, -3.0, 0.5, 0.0], [1.0] * 5, [0.1]],
        lost=[["conv2", "an operator without a rule"]],
        data_symmetry=symmetric,
        monitor=monitor(),
        notes=["a note"],
    )


def hostile() -> dict[str, Any]:
    """Every text is an attack."""
    out = full()

    def spoil(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: spoil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(v) for v in value]
        return HOSTILE if isinstance(value, str) and key not in ("schema", "kind") else value

    return spoil(out)


RECORDS = {"full": full, "plain": record, "hostile": hostile, "least": lambda: bare()}


def bare() -> dict[str, Any]:
    return {"schema": "intertwiner.conservation/1", "network": {"name": "net"}, "verdict": verdict("UNDECIDED")}


def test_everything_that_was_found_stands_on_the_page() -> None:
    page = unescape(to_laws_html(full()))
    for text in (
        "PROVED", "The 9 laws are all", "|0.weight[i]|^2 - |2.weight[:, i]|^2", "positive scales of 5 coordinates",
        "up to the epsilon of batch norm", "for cross entropy", "conv2: an operator without a rule", "1.00e-16",
        "C4: E", "to 12", "40 steps of SGD", "weight decay 0.1: decays", "0.00200", "a note", "plain gradient flow",
        "0.250 s, seed 0", "iw.conservation_laws(model, example=x, loss=\"cross_entropy\")",
    ):  # fmt: skip
        assert text in page, text


def test_what_is_missing_is_said() -> None:
    page = unescape(to_laws_html(bare() | {"uncounted": "too large", "unchecked": "not asked for"}))
    for text in (
        "UNDECIDED",
        "The structure gives no laws",
        "Not counted: too large",
        "along a gradient of the network",
    ):
        assert text in page, text
    assert "Drift in training" not in page
    open_count = unescape(to_laws_html(record(count=count(9, 12), verdict=verdict("UNDECIDED"))))
    assert "Between <b>9</b> and <b>12</b> independent laws" in open_count
    assert "3 undecided" in open_count


def test_no_name_becomes_markup() -> None:
    page = to_laws_html(hostile())
    assert "<script" not in page
    assert "intertwiner.invalid" in page
    assert page.count("</style>") == 1


def test_a_count_without_brackets_needs_no_picture() -> None:
    flat = count() | {"ranks": [[47], [47]]}
    assert growth(56, flat) is None
    assert "no brackets were needed" in to_laws_html(record(count=flat))
    assert growth(56, count()) is not None


def elements(picture: Any, tag: str) -> list[ElementTree.Element]:
    assert picture is not None
    return ElementTree.fromstring(picture.markup).findall(tag)


def test_the_bar_has_every_parameter_once() -> None:
    bars = [r for r in elements(shares(56, count(9, 12)), "rect") if r.get("height") == "26"]
    assert [b.get("class") for b in bars] == ["known", "further", "open", "moves"]
    widths = [float(b.get("width", "nan")) for b in bars]
    assert sum(widths) == pytest.approx(758, abs=0.01)
    assert [w * 56 / 758 for w in widths] == pytest.approx([8, 1, 3, 44], abs=1e-3)
    assert shares(0, count()) is None


def test_the_curve_of_ranks_ends_at_what_it_cannot_exceed() -> None:
    picture = growth(56, count())
    marks = elements(picture, "circle")
    (level,) = [line for line in elements(picture, "line") if line.get("class") == "level"]
    assert [m.get("class") for m in marks] == ["mark", "mark", "mark chosen"]
    assert float(marks[-1].get("cy", "nan")) == pytest.approx(float(level.get("y1", "nan")))
    heights = [float(m.get("cy", "nan")) for m in marks]
    assert heights == sorted(heights, reverse=True)


def test_values_share_one_axis() -> None:
    ticks = elements(values_strip([-1.0, 0.0, 3.0, None, math.nan], -1.0, 3.0), "line")
    at = [float(t.get("x1", "nan")) for t in ticks if t.get("class") == "tick"]
    assert at == pytest.approx([4, 67, 256])
    assert [float(t.get("x1", "nan")) for t in ticks if t.get("class") == "zero"] == [67]


def test_drift_is_drawn_where_there_is_some() -> None:
    picture = drift_curves(monitor()["history"], 3e-7)
    lines = elements(picture, "polyline")
    assert [line.get("class") for line in lines[:4]] == [
        f"series s{n} {key}" for n in (0, 1) for key in ("measured", "predicted")
    ]
    assert lines[0].get("points", "").count(",") == 2  # a gap and the zero at the start are left out
    assert lines[1].get("points", "").count(",") == 3
    (rate,) = [line for line in lines if line.get("class") == "rate"]
    heights = [float(pair.split(",")[1]) for pair in rate.get("points", "").split()]
    assert heights[0] == heights[1] < heights[2] == heights[3]
    still = copy.deepcopy(monitor()["history"])
    for curve in still["families"]:
        curve |= {"measured": [0.0] * 5, "predicted": [None] * 5}
    assert drift_curves(still, None) is None
    assert drift_curves(None, None) is None


def test_a_record_that_is_none_is_refused_and_nothing_written(tmp_path: Path) -> None:
    wrong = record(families=[{"kind": "cube", "formula": "x", "count": 1}])
    with pytest.raises(InvalidRecord, match=r"(?s)kind.*Nothing was rendered or written"):
        write_laws(wrong, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    data, page = write_laws(full(), tmp_path / "report")
    assert (data.name, page.name) == ("laws.json", "report.html")
    written = json.loads(data.read_text(encoding="utf-8"))
    assert checked_laws(written) == checked_laws(full())
    assert page.read_text(encoding="utf-8") == to_laws_html(written)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[headless.Browser]:
    binary = headless.chromium()
    if binary is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(headless.NAMES)}): the page is not opened")
    with headless.running(binary, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("name", RECORDS)
def test_in_a_browser_it_is_silent_and_fits(browser: headless.Browser, tmp_path: Path, name: str) -> None:
    _, page = write_laws(RECORDS[name](), tmp_path)
    opened = browser.open_page(page)
    assert opened.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    assert opened.ask("document.scripts.length") == 0
    assert opened.ask("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 5)")
    assert opened.ask(
        "[...document.querySelectorAll('a')].every(a => document.getElementById(a.getAttribute('href').slice(1)))"
    )
    for width in (400, 1100):
        opened.resize(width, 900)
        assert opened.ask("document.documentElement.scrollWidth") <= width
