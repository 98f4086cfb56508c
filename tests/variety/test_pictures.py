"""Pictures of neurovarieties: the records behind them are right, and the markup shows what they say."""

from __future__ import annotations

import json
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest

from intertwiner.errors import WrongUse
from intertwiner.report.dimension_curve import dimension_curve
from intertwiner.report.standalone import STYLE, standalone
from intertwiner.report.surface import surface_picture
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.expansion import exact_coordinates
from intertwiner.variety.pictures import dimension_by_width, dimension_picture, parameter_plane, plane_picture

SVG = "{http://www.w3.org/2000/svg}"


def unit(size: int, place: int) -> np.ndarray:
    out = np.zeros(size)
    out[place] = 1
    return out


def test_dimensions_by_width() -> None:
    rows = dimension_by_width((4, 1, 1), "t^2", most=5)
    assert [row["dimension"] for row in rows] == [4, 7, 9, 10, 10]
    assert [row["expected"] for row in rows] == [4, 8, 10, 10, 10]
    assert all(row["proved"] for row in rows) and {row["ambient"] for row in rows} == {10}
    assert [row["widths"] for row in dimension_by_width((2, 3, 1, 1), "t^2", layer=2, most=2)] == [
        [2, 3, 1, 1], [2, 3, 2, 1],
    ]  # fmt: skip
    with pytest.raises(WrongUse, match=r"hidden are 1 to 1.*Nothing was computed"):
        dimension_by_width((4, 1, 1), "t^2", layer=2)


def test_defects_and_probable_dimensions_are_marked() -> None:
    rows = dimension_by_width((4, 1, 1), "t^2", most=4)
    rows[0]["proved"] = False
    picture = dimension_curve({"4-w-1": rows, "none": []})
    assert picture is not None
    root = ElementTree.fromstring(standalone(picture))
    marks = [c.get("class") for c in root.iter(f"{SVG}circle") if c.find(f"{SVG}title") is not None]
    assert marks == ["mark open", "mark defect", "mark defect", "mark"]
    titles = [t.text for t in root.iter(f"{SVG}title")]
    assert titles[1] == "width 2: 7, proved, defect 1" and titles[0] == "width 1: 4, probable"
    points = [line.get("points", "").split() for line in root.iter(f"{SVG}polyline")]
    heights = [[float(p.split(",")[1]) for p in line] for line in points]
    assert all(len(line) == 4 for line in heights)
    assert all(e <= d for e, d in zip(*heights, strict=True))  # the expected dimension lies above
    assert dimension_curve({"none": []}) is None


def test_several_families_have_their_names() -> None:
    picture = dimension_picture([(3, 1, 1), (2, 1, 1)], "t^3", most=3)
    assert picture is not None
    texts = [t.text for t in ElementTree.fromstring(standalone(picture)).iter(f"{SVG}text")]
    assert {"3-w-1, t^3", "2-w-1, t^3", "space: 10", "space: 4", "width w of hidden layer 1"} <= set(texts)


PLANES = [
    (Architecture((2, 2, 1), "t^2"), [1, 0, 0, 1, 1, -1], 1, 2),
    (Architecture((2, 2, 2, 1), "t^2"), [1, 0, 0.5, 1, 1, 0.25, -0.5, 1, 1, -1], 1, 6),
    (Architecture((2, 1, 1), "t^2 + t"), [0.5, 1, 1], 0, 2),
    (Architecture((1, 2, 1), "t^2", bias=True), [1, 2, 0.5, 0.25, 1, -1, 0], 0, 5),
]


@pytest.mark.parametrize(("net", "centre", "one", "other"), PLANES, ids=lambda v: str(v))
def test_the_image_of_a_plane_is_right(net: Architecture, centre: list[float], one: int, other: int) -> None:
    u, v = unit(net.parameters, one), unit(net.parameters, other)
    record = parameter_plane(net, centre, u, v, reach=1.0, steps=4)
    json.dumps(record, allow_nan=False)
    points = np.array(record["points"])
    names = list(exact_names(net))
    for i, t in enumerate(np.linspace(-1, 1, 5)):
        for j, s in enumerate(np.linspace(-1, 1, 5)):
            theta = [Fraction(x) for x in np.asarray(centre, dtype=float) + s * u + t * v]
            exact = exact_coordinates(net, theta)
            expected = [float(exact[names.index(name)]) for name in record["axes"]]
            np.testing.assert_allclose(points[i, j], expected, atol=1e-9)
    for curve in record["curves"]:
        for segment, lifted in zip(curve["segments"], curve["lifted"], strict=True):
            for (s, t), place in zip(segment, lifted, strict=True):
                theta = [Fraction(x) for x in np.asarray(centre, dtype=float) + s * u + t * v]
                exact = exact_coordinates(net, theta)
                np.testing.assert_allclose(place, [float(exact[names.index(n)]) for n in record["axes"]], atol=1e-9)


def exact_names(net: Architecture) -> tuple[str, ...]:
    from intertwiner.variety.expansion import Coordinates

    return Coordinates.of(net).names


def test_the_locus_is_where_the_rank_drops() -> None:
    """W_1 = [[1, s], [t, 1]] has determinant 1 - s t; the shade is lowest there."""
    net = Architecture((2, 2, 1), "t^2")
    record = parameter_plane(net, [1, 0, 0, 1, 1, -1], unit(6, 1), unit(6, 2), steps=30)
    (curve,) = record["curves"]
    assert curve["label"] == "det W_1 = 0"
    ends = np.array(curve["segments"]).reshape(-1, 2)
    assert np.abs(ends[:, 0] * ends[:, 1] - 1).max() < 0.02
    for c20, c11, c02 in np.array(curve["lifted"]).reshape(-1, 3):
        assert abs(4 * c20 * c02 - c11**2) < 0.05  # squares of one form
    s, t = np.meshgrid(np.linspace(-1.5, 1.5, 31), np.linspace(-1.5, 1.5, 31))
    shade, gap = np.array(record["shade"]), np.abs(1 - s * t)
    assert shade[gap < 0.05].max() < shade[gap > 0.5].min()


def test_dead_neurons_are_dots_and_lines() -> None:
    net = Architecture((2, 1, 1), "t^2")
    record = parameter_plane(net, [0, 0, 1], unit(3, 0), unit(3, 1), steps=10)
    assert record["dots"] == [{"label": "row 0 of W_1 = 0", "at": [0.0, 0.0], "lifted": record["dots"][0]["lifted"]}]
    np.testing.assert_allclose(record["dots"][0]["lifted"], 0, atol=1e-12)
    assert not record["curves"]
    line = parameter_plane(Architecture((2, 2, 1), "t^3"), [1, 0, 0, 1, 1, 0], unit(6, 2), unit(6, 5), steps=9)
    assert [c["label"] for c in line["curves"]] == ["W_2[0, 1] = 0"]
    assert surface_picture(line).markup.count("<circle") == 1  # the line is sent to one function
    text = surface_picture(record).markup
    assert text.count("row 0 of W_1 = 0") == 3  # in both panels and below


def test_pairs_of_rows_that_read_two_values() -> None:
    net = Architecture((2, 3, 1), "t^4")
    centre = [1, 0, 0, 1, 1, 1, 1, 1, 1]
    record = parameter_plane(net, centre, unit(9, 4), unit(9, 5), steps=9)
    assert {c["label"] for c in record["curves"]} == {f"rows {i}, 2 of W_1 repeated" for i in (0, 1)}


def test_axes_can_be_chosen_and_are_checked() -> None:
    net = Architecture((3, 2, 1), "t^2")
    theta = np.arange(1.0, 9.0)
    record = parameter_plane(net, theta, unit(8, 0), unit(8, 4), steps=3, axes=("c[200]", "c[020]", "c[002]"))
    assert record["axes"] == ["c[200]", "c[020]", "c[002]"]
    with pytest.raises(WrongUse, match="axes are three of"):
        parameter_plane(net, theta, unit(8, 0), unit(8, 4), steps=3, axes=("c[200]",))
    with pytest.raises(WrongUse, match="2 coefficients"):
        parameter_plane(Architecture((2, 2, 1), "linear"), np.ones(6), np.ones(6), np.ones(6))


def test_the_picture_is_whole_and_inside_its_frame() -> None:
    net = Architecture((2, 2, 1), "t^2")
    text = standalone(plane_picture(net, [1, 0, 0, 1, 1, -1], unit(6, 1), unit(6, 2), steps=12))
    root = ElementTree.fromstring(text)
    assert len(list(root.iter(f"{SVG}polygon"))) == 144
    width, height = map(float, root.get("viewBox", "").split()[2:])
    for polygon in root.iter(f"{SVG}polygon"):
        for point in polygon.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width and 0 <= y <= height
    styled = {c for name in STYLE.split("{") for c in name.split(".")[1:]}
    used = {c for e in root.iter() for c in (e.get("class") or "").split()}
    known = {c.split()[0].rstrip(",") for c in styled if c.split()}
    assert used - known <= {"surface"}


def test_names_are_escaped() -> None:
    row = {"width": 1, "dimension": 3, "expected": 3, "ambient": 6, "proved": True}
    picture = dimension_curve({"<script>&": [row]})
    assert picture is not None and "<script>" not in standalone(picture)


@pytest.mark.parametrize("net", [Architecture((2, 1, 2, 1), "t^2"), Architecture((3, 3, 2), "linear")], ids=str)  # type: ignore[arg-type]
def test_narrow_and_linear_networks_have_pictures(net: Architecture) -> None:
    theta = np.linspace(-1, 1, net.parameters)
    record = parameter_plane(net, theta, unit(net.parameters, 0), unit(net.parameters, 1), steps=3)
    shade = np.array(record["shade"])
    assert np.isfinite(shade).all() and shade.min() >= 0 and shade.max() <= 1
