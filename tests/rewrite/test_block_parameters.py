"""A twin in isotypic blocks stores fewer numbers than its dense form, and not none."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.algebra import dihedral
from intertwiner.rewrite.method import Choice
from intertwiner.symmetry import Symmetry, image, invariant


@pytest.mark.parametrize("blocks", ["never", "always"])
def test_numbers_are_counted_however_the_layers_run(blocks: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 3)).eval()
    symmetry = Symmetry(dihedral(4), image(size=4), invariant())
    twin = iw.rewrite(net, symmetry, torch.randn(900, 16), 1.0, choice=Choice(blocks=blocks))
    found = twin.certificate
    stored, dense = found.parameters["twin"], sum(a * b + b for a, b in pairwise(found.widths))
    if blocks == "never":
        assert stored == dense and found.multiply_adds["twin"] == found.multiply_adds["dense"]
    else:
        assert "blocks" in found.executors.values()
        assert found.parameters["free"] <= stored < dense
