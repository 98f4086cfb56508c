"""The terminal table: everything at 80 columns, nothing by colour alone, no name cut."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import sample

from intertwiner.report import print_text, to_text


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("build", [sample.realistic, sample.proved, sample.refuted, sample.minimal, sample.big])
def test_no_line_is_wider_than_asked(build: Any, width: int) -> None:
    lines = to_text(build(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line != line.rstrip() for line in lines)


def test_it_says_what_was_decided_and_measured() -> None:
    text = to_text(sample.realistic(), 80)
    assert text.startswith("UNDECIDED\n  f(g x) = f(x) for every g in D4\n")
    assert "r           0.0873   noise floor 3.40e-07   null 1.21" in text
    row = next(line for line in text.splitlines() if line.startswith("trunk.0.down:out"))
    assert " ".join(row.split()) == "trunk.0.down:out 64 perm. x s>0 broken 0.941 0.583 0.127 partial"
    assert "7·A1 + 3·A2 + 4·B1 + 4·B2 + 8·E" in text
    assert "trunk.0.down:out: stride 2 on an even grid of 16 (0.310)" in text
    assert "not covered: no rule for aten.scaled_dot_product_attention" in text
    assert (
        text.index("UNDECIDED") < text.index("end-to-end defect") < text.index("R2, worst") < text.index("what breaks")
    )


def test_the_row_shows_the_worst_generator_and_the_highest_null() -> None:
    record = sample.realistic()
    rows = record["taps"][2]["data"]["generators"]
    rows["s"] |= {"gauge_r2": -0.25, "linear_r2": 0.5, "null_random_network": 0.777}
    row = next(line for line in to_text(record, 80).splitlines() if line.startswith("trunk.0.down:out"))
    assert row.split()[-4:] == ["0.500", "-0.250", "0.777", "partial"]


def test_exact_and_within_tolerance_are_told_apart() -> None:
    assert to_text(sample.proved(), 80).startswith("PROVED, exactly\n")
    assert "lies within" not in to_text(sample.proved(), 80)
    text = " ".join(to_text(sample.proved(exact=False), 80).split())
    assert text.startswith("PROVED, within tolerance ")
    assert "lies within 3.20e-05 of every output for |x| <= 1." in text


def test_identifiability_stands_below_the_table() -> None:
    text = " ".join(to_text(sample.realistic(), 100).split())
    assert "identifiability 3 of head.fc: opposite to another neuron with redundant neurons taken out:" in text
    assert "is determined by the function: kinks of one piecewise linear layer" in text
    record = sample.realistic()
    record["identifiability"]["applies"] = False
    assert "no theorem decides whether parameters are identifiable" in " ".join(to_text(record, 100).split())


def test_what_was_not_measured_is_said() -> None:
    record = sample.minimal()
    assert "end-to-end defect not measured\n" in to_text(record, 80)
    record["missing"] = {"defect": "no data were given"}
    assert "end-to-end defect not measured: no data were given\n" in to_text(record, 80)


def test_a_long_name_gets_a_line_of_its_own() -> None:
    text = to_text(sample.big(8), 80)
    assert "\nmodel.encoder.layers.1.attn.out_proj:out\n" in text


def test_the_gauge_group_is_written_out_where_there_is_room() -> None:
    assert "permutations x positive scales" in to_text(sample.realistic(), 120)
    assert "permutations x positive scales" not in to_text(sample.realistic(), 80)


def test_names_can_neither_style_nor_move_the_terminal() -> None:
    record = sample.minimal()
    record["taps"][0]["name"] = "[bold red]fc[/]\x1b[31m\r:smile:"
    record["network"]["name"] = "\x1b]0;title\x07"
    text = to_text(record, 120)
    assert "[bold red]fc[/]\\x1b[31m\\x0d:smile:" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def _printed(monkeypatch: pytest.MonkeyPatch, *, no_color: bool) -> str:
    from rich.console import Console

    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    out = StringIO()
    print_text(sample.realistic(), Console(file=out, width=80, force_terminal=True, color_system="standard"))
    return out.getvalue()


def test_colour_is_used_and_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1;33mUNDECIDED" in _printed(monkeypatch, no_color=False)
    plain = _printed(monkeypatch, no_color=True)
    assert not any(f"\x1b[{n}m" in plain or f";{n}m" in plain for n in range(30, 38))
    assert "UNDECIDED" in plain
