"""The HTML page: it holds every part, says what is missing, and draws what the numbers say."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import sample

from intertwiner.report import pixels, svg, to_html


class Words(HTMLParser):
    """The visible text of a page, and whether every tag is closed in order."""

    VOID = {"meta", "link", "img", "br", "input"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.pieces.append(data)


def words(page: str) -> str:
    parser = Words()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return " ".join(" ".join(parser.pieces).split())


@pytest.mark.parametrize(
    "build", [sample.realistic, sample.proved, sample.refuted, sample.minimal, sample.big, sample.hostile]
)
def test_every_record_gives_a_well_formed_page_that_names_nothing_outside(build: Any) -> None:
    page = to_html(build())
    assert words(page)
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert not re.search(r"""\s(?:src|href|action)=(?!"#|"data:)""", page)
    assert "url(" not in page
    assert "@import" not in page
    assert page == to_html(build())


def test_the_page_says_everything_that_was_found() -> None:
    text = words(to_html(sample.realistic()))
    for piece in (
        "UNDECIDED f(g x) = f(x) for every g in D4",
        "48,210 float32",
        "1 x 1 x 16 x 16",
        "D4 8 elements",
        "4,096 in 32 batches",
        "r 0.0873 3.40e-07 1.21",
        "worst element 0.100",
        "D4: 7·A1 + 3·A2 + 4·B1 + 4·B2 + 8·E",
        "3 x D4/1 + 2 x D4/Cs + 2 x D4/D4",
        "(0 1 2 3) (4 7 6 5)",
        "2 neurons are copies of others",
        "7·A1 41.2 % 7 × dimension 1, real",
        "r 0.941 0.583 0.127 0.00233 0.660 3.10e-07",
        "carries an action in part 56 % of the images are present",
        "Cs 2 24 7 3",
        "width of the lift 112",
        "8 neurons, stabiliser 1",
        "Breaks the symmetry: stride 2 on an even grid",
        "Not measured: the gauge group mixes the neurons, so no neuron has an orbit of its own.",
        "aten.scaled_dot_product_attention.default attention needs a rule of its own",
        "Seed 20260121.",
        "equivariance defect |f(gx)",
    ):
        assert piece in text, piece


def test_identifiability_says_what_was_redundant_and_which_theorem_applies() -> None:
    text = words(to_html(sample.realistic()))
    for piece in (
        "PROVED : the even form of ShapeNet is determined by the function.",
        "The action was found with redundant neurons taken out: head.fc:out D4: 3·A1 + 2·E",
        "head.fc 3 opposite to another neuron",
        "kinks of one piecewise linear layer [pointwise, global] : holds",
        "Grillo and Montúfar 2026 [open set] : does not decide",
        "no constant neuron (w = 0): holds (smallest |w| 0.4)",
    ):
        assert piece in text, piece
    record = sample.realistic() | {"identifiability": None, "missing": {"identifiability": "RuntimeError: no kernel"}}
    assert "Not measured: RuntimeError: no kernel." in words(to_html(record))


def test_verdicts_are_said_in_words() -> None:
    assert "PROVED exactly" in words(to_html(sample.proved()))
    text = words(to_html(sample.proved(exact=False)))
    assert "PROVED within tolerance" in text
    assert "lies within 3.20e-05 of every output for |x| <= 1." in text
    text = words(to_html(sample.refuted()))
    assert "moved by r , the defect is 0.0871 (noise floor 3.60e-05)" in text
    assert "Theorem: Sussmann 1992 (pointwise, global)." in text


def test_missing_parts_are_said_and_nothing_is_claimed() -> None:
    text = words(to_html(sample.minimal()))
    assert text.count("Not measured.") >= 6
    assert "Nothing breaks the symmetry" not in text
    assert "None" not in text


@pytest.mark.parametrize(
    "part", ["weights", "data", "orbits", "filters", "missing", "breaks", "grid", "gauge", "space"]
)
@pytest.mark.parametrize("absent", [True, False])
def test_any_part_of_a_tap_may_be_missing(part: str, absent: bool) -> None:
    record = sample.realistic()
    for tap in record["taps"]:
        if absent:
            tap.pop(part, None)
        else:
            tap[part] = None
    assert "None" not in words(to_html(record))


def _nulls(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Every path to a leaf."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from _nulls(child, (*path, key))


def test_every_null_that_the_schema_allows_is_rendered() -> None:
    from intertwiner.errors import InvalidRecord
    from intertwiner.report import validate

    short = sample.refuted()
    short["taps"] = short["taps"][2:3]
    allowed = 0
    for path in list(_nulls(short)):
        record = sample.refuted()
        record["taps"] = record["taps"][2:3]
        place: Any = record
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = None
        try:
            validate(record)
        except InvalidRecord:
            continue
        allowed += 1
        assert "None" not in words(to_html(record)), path
    assert allowed > 60


def test_big_networks_are_collapsed_and_small_ones_open() -> None:
    assert '<details class="tap">' in to_html(sample.big(20))
    assert '<details class="tap" open>' in to_html(sample.realistic())
    assert "All 21 taps by name" in to_html(sample.big(20))


def test_too_many_filters_are_counted_not_drawn() -> None:
    record = sample.realistic()
    orbit = record["taps"][0]["filters"]["orbits"][0]
    record["taps"][0]["filters"]["orbits"] = [orbit] * 100
    page = to_html(record)
    assert page.count("<img") == 512
    assert "288 more stand in audit.json." in words(page)


def decoded(address: str) -> np.ndarray:
    """An independent reader of the PNG files that the page holds."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        tag, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(tag + body)
        chunks[tag] = body
        at += 12 + length
    width, height, depth, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, kind) == (8, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_pictures_come_back_as_they_were(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (5, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(pixels.data_address(image)), image)


def test_the_scale_is_symmetric_about_white() -> None:
    image = pixels.diverging(np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]]), 1.0)
    assert image[0, 0].tolist() == image[0, 1].tolist()
    assert image[0, 3].tolist() == image[0, 4].tolist()
    assert image[0, 2].tolist() == [247, 247, 247]
    assert image[0, 1, 2] > image[0, 1, 0]
    assert image[0, 3, 0] > image[0, 3, 2]
    assert pixels.diverging(np.zeros((2, 2)), 0.0).min() == 247


@pytest.mark.parametrize(
    ("shape", "size"),
    [((6,), (1, 6)), ((3, 5), (3, 5)), ((3, 4, 5), (4, 5)), ((2, 4, 5), (4, 11)), ((9, 4, 5), (4, 23)), ((), (1, 1))],
)
def test_filters_of_every_shape_are_drawn(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert pixels.picture(np.ones(shape), 1.0).shape == (*size, 3)


def test_the_filters_on_the_page_are_turned_copies() -> None:
    page = to_html(sample.realistic())
    images = [decoded(src) for src in re.findall(r'<img src="([^"]+)"', page)]
    np.testing.assert_array_equal(images[1], np.rot90(images[0]))


def test_bars_are_as_long_as_the_numbers_say() -> None:
    drawn = svg.bar(0.25, null=0.5, floor=0.1).markup
    assert 'class="fill" x="0" y="3" width="35"' in drawn
    assert 'class="null" x1="70"' in drawn
    assert 'width="0"' in svg.bar(-3.0).markup
    assert 'class="fill"' not in svg.bar(None).markup
    assert svg.bar(0.0, full=0.0).markup


def test_taps_of_one_space_are_joined_by_an_arc() -> None:
    assert svg.chain([], []).markup.count("<circle") == 0
    assert to_html(sample.realistic()).count('class="arc"') == 0
    assert to_html(sample.big(12)).count('class="arc"') == 2


def test_names_are_cut_before_their_middle_and_kept_in_the_title() -> None:
    name = "model.encoder.layers.11." + 5 * "deep." + "attention.out_proj:out"
    record = sample.minimal()
    record["taps"][0]["name"] = name
    page = to_html(record)
    assert svg.shortened(name, 44) in page
    assert len(svg.shortened(name, 44)) == 44
    assert f"<title>{name}: weights not measured</title>" in page
