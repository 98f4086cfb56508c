"""An audit shows which action it found, not only that one was, and what each figure stands against."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.audit.found import found_in
from intertwiner.audit.spread import Spread
from intertwiner.gauge import GaugeElement
from intertwiner.numerics.monomial import Monomial

GROUP = iw.dihedral(4)


class Board(nn.Module):
    """Two heads on an odd board: one answer per point, one for the whole."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.point, self.whole = nn.Conv2d(channels, 1, 1), nn.Linear(channels, 1)

    def forward(self, x):
        h = torch.relu(self.conv(x))
        return self.point(h)[:, 0], self.whole(h.mean((2, 3)))


def permuted() -> Board:
    """Three filters and their mirror images, read alike: equivariant under s, not under r."""
    torch.manual_seed(0)
    net = Board().eval()
    with torch.no_grad():
        net.conv.weight[3:] = net.conv.weight[:3].flip(-1)
        net.conv.bias[3:] = net.conv.bias[:3]
        net.point.weight[:, 3:] = net.point.weight[:, :3]
        net.whole.weight[:, 3:] = net.whole.weight[:, :3]
    return net


@pytest.mark.parametrize(
    ("index", "factor", "text"),
    [
        ([0, 1, 2], [1, 1, 1], "all 3 features stay"),
        ([0, 1, 2], [-1, -1, -1], "-1 on all 3 features"),
        ([0, 1, 2], [-2.0, 1, 0.5], "no feature of 3 moves, 1 changes sign"),
        ([1, 0, 2], [1, -1, 1], "2 of 3 features move (75 % of the variance)"),
        ([1, 0, 2], [1, 1, -1], "2 of 3 features move (75 % of the variance), 1 changes sign"),
    ],
)
def test_an_element_in_words(index, factor, text):
    element = GaugeElement(Monomial(np.array(index), np.array(factor, dtype=float)))
    assert str(found_in(element, np.array([2.0, 1.0, 1.0]))) == text


def test_a_mixture_is_not_put_in_words():
    assert found_in(GaugeElement(np.ones((2, 2))), np.ones(2)) is None


def test_spread_with_a_mask_counts_only_what_it_covers():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(5, 1, (50, 4)), (rng.random((50, 4)) < 0.6).astype(float)
    weight[:, 3] = 0
    spread = Spread()
    for part in np.split(np.arange(50), [7, 8, 30]):
        spread.add(torch.from_numpy(values[part]), torch.from_numpy(weight[part]))
    expected = sum(((v[w > 0] - v[w > 0].mean()) ** 2).sum() for v, w in zip(values.T[:3], weight.T[:3], strict=True))
    assert spread.total == pytest.approx(expected)
    plain = Spread()
    for part in np.split(np.arange(50), [7, 8, 30]):
        plain.add(torch.from_numpy(values[part]), torch.ones(len(part), 4, dtype=torch.float64))
    assert plain.total == pytest.approx(((values - values.mean(0)) ** 2).sum())


def image_audit(net: nn.Module, **options) -> iw.Audit:
    symmetry = iw.Symmetry(GROUP, on_input=iw.image(GROUP), on_output=iw.several(iw.image(GROUP), iw.invariant()))
    generator = torch.Generator().manual_seed(1)
    return iw.audit(net, symmetry, data=torch.randn(96, 1, 5, 5, generator=generator).split(16), **options)


def test_a_planted_mirror_moves_channels_and_the_wrong_positions_explain_nothing():
    rows = image_audit(permuted())["conv"].record["data"]["generators"]
    assert rows["s"]["found"]["moved"] == 6
    assert rows["s"]["permutation_r2"] > 1 - 1e-5 > 0.9 > rows["s"]["in_place_r2"]
    assert rows["s"]["centred_r2"] > 1 - 1e-5
    assert rows["s"]["null_wrong_positions"] < 0.3
    assert rows["r"]["permutation_r2"] < 0.6


def test_every_element_is_fitted_where_orbits_are_looked_for():
    audit = image_audit(permuted(), taps=["conv:out", "conv:act"])
    elements = [a.record["data"]["elements"] for a in audit if a.record["data"] and a.record["data"]["elements"]]
    assert elements
    for rows in elements:
        assert set(rows) == {GROUP.element_name(g) for g in range(1, 8)}


def test_defects_are_told_by_output_and_a_mask_leaves_positions_out():
    net = permuted()
    names = ("output.0", "output.1")
    whole = image_audit(net).record["defect"]["generators"]
    assert set(whole["r"]["outputs"]) == set(names)
    assert whole["r"]["value"] == max(whole["r"]["outputs"].values())
    assert max(whole["s"]["outputs"].values()) < 1e-5

    class Broken(Board):
        """Wrong at the middle point only."""

        def forward(self, x):
            point, value = super().forward(x)
            bump = torch.zeros(5, 5)
            bump[2, 2] = 1.0
            return point + bump * x[:, 0] * x[:, 0, :, :1], value

    broken = Broken().eval()
    broken.load_state_dict(net.state_dict())
    ring = torch.ones(5, 5)
    ring[2, 2] = 0
    seen = image_audit(broken).record["defect"]["generators"]["s"]["outputs"]
    masked = image_audit(broken, mask=lambda inputs: ring.expand(len(inputs[0]), 5, 5)).record["defect"]
    assert seen["output.0"] > 0.1
    assert masked["generators"]["s"]["outputs"]["output.0"] < 1e-5


def test_more_shuffled_networks_never_lower_the_null():
    net = permuted()
    one, four = (image_audit(net, effort=iw.Effort(draws=n, orbits=False))["conv"] for n in (1, 4))
    for g in "rs":
        nulls = [a.record["data"]["generators"][g]["null_random_network"] for a in (one, four)]
        assert nulls[1] >= nulls[0]


def test_the_terminal_and_the_page_say_what_was_found():
    audit = image_audit(permuted())
    text = audit["conv"].record["data"]["generators"]["s"]["found"]["text"]
    assert text.startswith("6 of 6 features move")
    assert text in " ".join(str(audit).split())
    assert text in audit._repr_html_()
