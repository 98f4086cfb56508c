"""Layers and spaces of any network in the report of a rewrite: chains, residual streams, blocks, losses."""

from __future__ import annotations

from io import StringIO
from xml.etree import ElementTree

import pytest
from rich.console import Console
from test_rewrite_report import Skeleton, certificate, record

from intertwiner.report.loss_curve import loss_curve
from intertwiner.report.rewrite_fields import checked_rewrite, rewrite_json
from intertwiner.report.rewrite_layers import layer_rows, space_rows
from intertwiner.report.rewrite_page import to_rewrite_html
from intertwiner.report.rewrite_text import print_rewrite

SPACE = {
    "name": "stem", "orbits_offered": [8, 8, 4], "orbits_chosen": [8, 4], "explained": [0.5, 0.97],
    "refit_rank": 12, "refit_condition": 31.5, "refit_error": 0.24,
}  # fmt: skip


def residual(**more):
    """Four layers, two spaces: the stem and the second convolution write the same stream."""
    found = certificate(name="net") | {
        "widths": [1, 12, 15, 12, 10], "original_widths": [1, 16, 16, 16, 10],
        "layers": [SPACE, SPACE | {"name": "a"}],
        "executors": {"conv2d": "dense", "conv2d_1": "dense", "conv2d_2": "dense", "linear": "blocks"},
        "multiply_adds": {"twin": 900, "dense": 950, "original": 1000, "averaging": 8000},
    }  # fmt: skip
    whole = record("net", curve=False)
    whole["twin"] = {"budget": 1.0, "folder": None, "certificate": found | more}
    whole["network"]["layers"] = ["stem", "a", "b", "head"]
    return whole


def text_of(whole, width=80):
    out = StringIO()
    print_rewrite(whole, Console(file=out, width=width))
    return out.getvalue()


def words_of(whole):
    return " ".join("".join(Skeleton(to_rewrite_html(whole)).words).split())


def test_layers_of_a_residual_network_have_their_own_names_and_widths():
    rows = layer_rows(checked_rewrite(residual()))
    assert [(r.name, r.before, r.after, r.runs) for r in rows] == [
        ("stem", 16, 12, "dense"), ("a", 16, 15, "dense"), ("b", 16, 12, "dense"), ("head", 10, 10, "blocks"),
    ]  # fmt: skip
    spaces = space_rows(checked_rewrite(residual())["twin"]["certificate"])
    assert [(s.note["name"], s.chosen, s.sizes) for s in spaces] == [
        ("stem", "2 of 3", "1 of 8, 1 of 4"), ("a", "2 of 3", "1 of 8, 1 of 4"),
    ]  # fmt: skip


def test_terminal_and_page_show_layers_spaces_blocks_and_dense_cost():
    shown = text_of(residual())
    lines = [line.split() for line in shown.splitlines()]
    assert ["a", "16", "15", "dense"] in lines and ["head", "10", "10", "blocks"] in lines
    assert any(line[:4] == ["stem", "2", "of", "3"] for line in lines)
    assert "1 of 4 layers in isotypic blocks" in shown and "950 if dense" in shown
    page = words_of(residual())
    assert "1 of 4 layers in isotypic blocks" in page and "950 if dense" in page and "Orbits chosen" in page


def test_dense_twins_say_nothing_of_blocks():
    dense = residual(executors=dict.fromkeys(("a", "b", "c", "d"), "dense"), multiply_adds={"twin": 9, "dense": 9})
    assert "in isotypic blocks" not in text_of(dense) and "if dense" not in text_of(dense)
    assert "Every layer runs dense" in words_of(dense)


def test_a_lift_of_a_graph_has_layers_and_no_orbits():
    lift = residual(method="lift", layers=[{"name": n, "width": 3} for n in ("stem", "a", "b", "head")])
    assert len(layer_rows(checked_rewrite(lift))) == 4 and not space_rows(checked_rewrite(lift)["twin"]["certificate"])
    assert "Orbits chosen" not in words_of(lift) and "merged by weights alone" in words_of(lift)
    assert "latent space" not in text_of(lift)


def test_a_chain_that_names_no_layers_takes_the_names_of_the_notes():
    rows = layer_rows(checked_rewrite(record("fc1:out")))
    assert [(r.name, r.before, r.after) for r in rows] == [("fc1", 96, 96), ("fc2", 64, 63), ("output", 1, 1)]
    unknown = record("fc1:out")
    unknown["twin"]["certificate"]["widths"] = []
    assert layer_rows(checked_rewrite(unknown)) == []


def test_deep_networks_show_their_ends_and_every_layer():
    deep = residual(widths=[3, *[12] * 30, 10], original_widths=[3, *[16] * 30, 10], executors={})
    del deep["network"]["layers"]
    assert len(layer_rows(checked_rewrite(deep))) == 31
    shown = text_of(deep)
    assert max(map(len, shown.splitlines())) <= 80 and "…" in shown


TRAINING = {
    "epochs": 3.0, "steps": 24, "seconds": 1.5, "losses": [0.5, 0.1, 0.02, 0.03], "improved": True,
    "text": "divergence: 0.5 -> 0.02 in 24 steps, 1.5 s",
}  # fmt: skip


def test_distillation_stands_in_table_page_and_json():
    trained = residual(training=TRAINING)
    assert "distilled: divergence: 0.5 -> 0.02" in " ".join(text_of(trained).split())
    page = to_rewrite_html(trained)
    assert page.count('class="losses"') == 1 and "<h2>Distillation</h2>" in page
    assert '"losses": [\n' in rewrite_json(trained)
    for untrained in (residual(), residual(training={})):
        assert "Distillation" not in to_rewrite_html(untrained) and "distilled" not in text_of(untrained)


def test_the_curve_of_losses_falls_where_the_loss_falls_and_marks_the_lowest():
    picture = loss_curve(TRAINING["losses"])
    assert picture is not None
    dots = list(ElementTree.fromstring(picture.markup).iter("circle"))
    heights = [float(e.get("cy", 0)) for e in dots]
    assert heights[0] < heights[1] < heights[2] > heights[3]
    assert [e.get("class") for e in dots] == ["mark", "mark", "mark chosen", "mark"]
    assert loss_curve([0.5, None, float("inf"), 0.0]) is None


@pytest.mark.parametrize("key", ["distance_average", "distance_original", "original_distance_average"])
def test_a_distance_that_is_not_a_number_is_unknown(key):
    lost = residual(**{key: float("nan")})
    assert "unknown" in text_of(lost) and "unknown" in words_of(lost)
    assert f'"{key}": null' in rewrite_json(lost)
    assert "unknown" not in text_of(residual())
