"""A symmetry that the architecture cannot carry is refused with the layer, the reason, and the subgroup that works."""

from typing import Any

import pytest
import torch
from torch import nn

import intertwiner as iw
from intertwiner.algebra import cyclic, dihedral, direct_product, subgroup_classes, symmetric
from intertwiner.errors import CannotRewrite
from intertwiner.network import trace
from intertwiner.rewrite.subgroups import lost_positions, working_subgroups
from intertwiner.symmetry import Symmetry, image, invariant, shift, tokens

D4 = Symmetry(dihedral(4), image(), invariant())


def network(kernel: Any = 3, stride: Any = 1, padding: Any = 1, pool: Any = None, channels: int = 4) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Conv2d(1, channels, kernel, stride=stride, padding=padding)
    pools = [] if pool is None else [pool]
    second = nn.Conv2d(channels, channels, 3, padding=1)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))
    return nn.Sequential(first, nn.ReLU(), *pools, second, nn.ReLU(), *head).eval()


def working(model, size, symmetry=D4):
    traced = trace(model, torch.zeros(2, 1, *size))
    bound = symmetry.bind((1, *size), (3,))
    return traced, bound, working_subgroups(traced, bound)


CASES = [
    (network(), (8, 8), ["D4"]),
    (network(stride=2), (9, 9), ["D4"]),
    (network(stride=2), (8, 8), ["rs"]),
    (network(stride=(2, 1)), (8, 8), ["s"]),
    (network(kernel=(1, 3), padding=(0, 1)), (8, 8), ["r2", "s"]),
    (network(pool=nn.MaxPool2d(2)), (9, 9), ["rs"]),
    (network(pool=nn.MaxPool2d(2)), (8, 8), ["D4"]),
    (network(stride=2, padding=(2, 1)), (8, 8), []),
]


@pytest.mark.parametrize(("model", "size", "wanted"), CASES)
def test_the_subgroup_is_the_largest_that_passes(model, size, wanted):
    traced, bound, found = working(model, size)
    group = bound.group
    passing = [h for h in subgroup_classes(group) if not lost_positions(traced, bound.restricted(h))]
    conjugates = {h.conjugate(int(g)) for h in subgroup_classes(group) for g in group.elements}
    every = [h for h in conjugates if not lost_positions(traced, bound.restricted(h))]
    assert max(h.order for h in every) == (found[0].order if found else 1)
    assert all(any(k.contains(h) for k in found) for h in every if h.order > 1), "it contains all that pass"
    assert any(h.order == 1 for h in passing), "the identity always passes"
    if wanted == ["D4"]:
        assert found[0].order == 8
    else:
        assert [group.element_name(g) for h in found for g in h.generators] == wanted


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("model", "size", "layer", "words"),
    [
        (network(stride=2), 8, "0", "stride 2 on axis 0 of length 8"),
        (network(pool=nn.MaxPool2d(2)), 9, "2", "pool"),
        (network(kernel=2, padding="same"), 8, "0", "an odd kernel"),
    ],
)
def test_the_refusal_names_layer_reason_and_a_subgroup_that_works(model, size, layer, words):
    x = torch.randn(400, 1, size, size)
    with pytest.raises(CannotRewrite) as refused:
        iw.rewrite(model, D4, x, 1.0)
    message = str(refused.value)
    assert message.startswith(f"{layer}: ") and words in message and "Cs' of D4" in message
    assert 'symmetry.restricted("rs")' in message and '--subgroup "rs"' in message
    assert message.endswith("Nothing was rewritten.")
    assert not iw.rewrite(model, D4.restricted("rs"), x, 1.0).certificate.verdict.is_refuted


def test_without_data_the_refusal_is_about_positions_and_not_about_data():
    with pytest.raises(CannotRewrite, match="stride 2") as refused:
        iw.rewrite(network(stride=2), D4, example=torch.zeros(2, 1, 8, 8))
    assert "data=" not in str(refused.value)


def test_the_restricted_twin_is_proved_and_reads_back(tmp_path):
    whole = D4.restricted("rs")
    twin = iw.rewrite(network(stride=2), whole, torch.randn(400, 1, 8, 8), 1.0)
    assert twin.certificate.verdict.is_proved and twin.certificate.order == 2
    back = iw.load(twin.save(tmp_path / "twin"))
    assert Symmetry.from_json(back.symmetry) == whole
    x = torch.randn(5, 1, 8, 8)
    (moved,) = whole.bind((1, 8, 8), (3,)).act_on_input(1, (x,))
    torch.testing.assert_close(back.module(moved), back.module(x), rtol=1e-5, atol=1e-6)


def test_nothing_works_is_said():
    with pytest.raises(CannotRewrite, match="No element of C4 but the identity"):
        iw.rewrite(network(stride=2), Symmetry(cyclic(4), image(), invariant()), torch.randn(99, 1, 8, 8))


def test_rolls_keep_their_even_steps():
    model = nn.Sequential(nn.Conv1d(1, 2, 3, stride=2, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten())
    traced = trace(model.eval(), torch.zeros(2, 1, 8))
    bound = Symmetry(cyclic(8), shift(), invariant()).bind((1, 8), (8,))
    (found,) = working_subgroups(traced, bound)
    assert found.elements.tolist() == [0, 2, 4, 6]


def test_a_group_that_is_too_large_is_not_searched():
    pair = direct_product(symmetric(5), symmetric(5))
    traced = trace(nn.Linear(3, 2).eval(), torch.zeros(2, 10, 3))
    bound = Symmetry(pair, tokens(), tokens()).bind((10, 3), (10, 2))
    with pytest.raises(CannotRewrite, match="14400 elements"):
        working_subgroups(traced, bound)
