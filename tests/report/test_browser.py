"""The report in a real browser: no complaint on the console, no request, no script, nothing wider than the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import headless
import pytest
import sample

from intertwiner.report import save

RECORDS = {
    "realistic": sample.realistic,
    "colour filters": lambda: sample.realistic(side=16, channels=3),
    "proved": sample.proved,
    "refuted": sample.refuted,
    "minimal": sample.minimal,
    "hundreds of taps": sample.big,
    "hostile": sample.hostile,
    "hostile attribute": lambda: sample.hostile('"><img src="http://intertwiner.invalid/x.png" onerror=alert(1)>'),
    "hostile style": lambda: sample.hostile("</style></title></svg><script src=//intertwiner.invalid/x.js></script>"),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[headless.Browser]:
    binary = headless.chromium()
    if binary is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(headless.NAMES)}): the report is not opened")
    with headless.running(binary, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def opened(browser: headless.Browser, tmp_path: Path, request: pytest.FixtureRequest) -> headless.Page:
    _, page = save(RECORDS[request.param](), tmp_path)
    return browser.open_page(page)


@pytest.mark.parametrize("opened", RECORDS, indirect=True)
def test_the_report_is_silent_and_asks_nothing_of_the_network(opened: headless.Page) -> None:
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    assert opened.ask("document.scripts.length") == 0
    assert opened.ask("document.querySelector('h1').innerText").split()[0] in {"PROVED", "REFUTED", "UNDECIDED"}


@pytest.mark.parametrize("opened", RECORDS, indirect=True)
@pytest.mark.parametrize("width", [400, 1100])
def test_nothing_is_wider_than_the_window(opened: headless.Page, width: int) -> None:
    opened.resize(width, 900)
    assert opened.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("opened", ["realistic", "colour filters"], indirect=True)
def test_every_picture_is_drawn(opened: headless.Page) -> None:
    assert opened.ask("document.images.length") == 34
    assert opened.ask("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert opened.ask("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 5)")


@pytest.mark.parametrize("opened", ["realistic", "hundreds of taps", "hostile"], indirect=True)
def test_every_address_leads_somewhere_on_the_page(opened: headless.Page) -> None:
    links = opened.ask("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert links
    assert all(link.startswith("#") for link in links)
    assert opened.ask(f"{sorted(set(links))!r}.every(l => document.getElementById(l.slice(1)))")
    assert opened.ask("[...document.querySelectorAll('[id]')].length") == opened.ask(
        "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
    )


@pytest.mark.parametrize("opened", ["hundreds of taps"], indirect=True)
def test_a_big_network_stays_short_and_opens_where_it_is_asked(opened: headless.Page) -> None:
    assert opened.ask("document.querySelectorAll('details.tap').length") == 301
    assert opened.ask("document.querySelectorAll('details.tap[open]').length") == 0
    assert opened.ask("getComputedStyle(document.querySelector('.scroll.tall')).overflowY") == "auto"
    opened.ask("location.hash = '#tap-150'")
    assert opened.ask("document.getElementById('tap-150').closest('details').open")


@pytest.mark.parametrize("opened", ["hundreds of taps"], indirect=True)
def test_closed_details_are_printed(opened: headless.Page) -> None:
    visible = "document.getElementById('tap-9').checkVisibility()"
    assert not opened.ask(visible)
    opened.emulate(media="print")
    assert opened.ask(visible)


def _contrast(page: headless.Page, selector: str) -> float:
    def luminance(colour: str) -> float:
        parts = [float(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ink = page.ask(f"getComputedStyle(document.querySelector({selector!r})).color")
    behind = page.ask(
        f"(() => {{ let e = document.querySelector({selector!r}); while (e) {{ const c = getComputedStyle(e)"
        ".backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; e = e.parentElement; }"
        " return 'rgb(255, 255, 255)'; })()"
    )
    low, high = sorted((luminance(ink), luminance(behind)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("opened", ["realistic", "refuted", "proved"], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_are_readable_in_light_and_dark(opened: headless.Page, scheme: str) -> None:
    """Contrast of at least 4.5 for text and 3 for large text [WCAG 2.2, 1.4.3]."""
    opened.emulate(scheme=scheme)
    assert _contrast(opened, ".verdict .word") >= 3
    for selector in (".verdict .claim", ".verdict .over", "td.muted", ".badge", "nav a", ".tap .body p", ".legend"):
        assert _contrast(opened, selector) >= 4.5, selector


def test_a_page_that_complains_or_loads_something_is_seen(browser: headless.Browser, tmp_path: Path) -> None:
    """Negative control: the checks above do see what they look for."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<img src='http://intertwiner.invalid/x.png'><script>console.error('seen'); alert(7); nothing.here;</script>",
        encoding="utf-8",
    )
    opened = browser.open_page(page)
    assert "http://intertwiner.invalid/x.png" in opened.requests
    text = "\n".join(opened.complaints)
    assert "seen" in text
    assert "dialog: 7" in text
    assert "nothing is not defined" in text
