"""A picture as a file of its own: the markup with its name space, and the few styles that pictures of varieties use.

Inside a page the style sheet of the page holds; a file follows the light or dark scheme of the reader by itself.
"""

from __future__ import annotations

from xml.etree import ElementTree

from intertwiner.report.svg import Picture

STYLE = """
:root { --card: #ffffff; --ink: #1c2024; --muted: #566069; --line: #e0e2e4; --fill: #2f5f9e; --pale: #b4c9e4;
  --null: #d08a1d; --bad: #b3301f; --good: #1d7a46; }
@media screen and (prefers-color-scheme: dark) { :root { --card: #1c2024; --ink: #e6e8ea; --muted: #98a1a9;
  --line: #31373c; --fill: #6fa3e3; --pale: #3b5573; --null: #e0a64a; --bad: #f08a7b; --good: #63c48c; } }
svg { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
.card { fill: var(--card); }
text { fill: var(--ink); white-space: pre; }
.head { fill: var(--muted); font-size: 12px; }
.strong { font-weight: 650; }
.grid { stroke: var(--line); }
.line { fill: none; stroke: var(--fill); stroke-width: 2; }
.expected { fill: none; stroke: var(--muted); stroke-width: 1.5; stroke-dasharray: 4 4; }
.level { stroke: var(--null); stroke-width: 1.5; stroke-dasharray: 1 3; }
.mark { fill: var(--fill); }
.mark.open { fill: var(--card); stroke: var(--fill); stroke-width: 2; }
.mark.defect { fill: var(--bad); }
.sheet { fill: var(--pale); stroke: var(--fill); stroke-width: 0.4; stroke-opacity: 0.5; }
.cell { fill: var(--fill); }
.axis { stroke: var(--muted); }
.locus0 { stroke: var(--bad); } .locus1 { stroke: var(--null); } .locus2 { stroke: var(--good); }
.locus3 { stroke: var(--ink); }
.curve { fill: none; stroke-width: 2; stroke-linecap: round; }
"""


def standalone(picture: Picture) -> str:
    """The text of an SVG file.

    Example:
        >>> standalone(Picture('<svg viewBox="0 0 1 1"><path class="line" /></svg>'))[:43]
        '<svg xmlns="http://www.w3.org/2000/svg" vie'
    """
    root = ElementTree.fromstring(picture.markup)
    width, height = root.get("viewBox", "0 0 0 0").split()[2:]
    background = ElementTree.Element("rect", {"class": "card", "width": width, "height": height})
    style = ElementTree.Element("style")
    style.text = STYLE
    root.insert(0, style)
    root.insert(1, background)
    plain = {"xmlns": "http://www.w3.org/2000/svg", **root.attrib}
    root.attrib.clear()
    root.attrib.update(plain)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
