"""Canonical forms and fingerprints: the same for every network of a gauge orbit, and for no other."""

from __future__ import annotations

import pytest
import torch
from gauge_cases import CASES, case, drawn
from torch import nn

from intertwiner.errors import NoRule
from intertwiner.identify import canonical_form, fingerprint, move


@pytest.mark.parametrize("name", CASES)
def test_one_representative_per_orbit(name):
    module, x = case(name)
    forms = [canonical_form(m, example=x) for m in (module, move(module, drawn(module, x, 5), example=x))]
    for (key, p), q in zip(forms[0].state_dict().items(), forms[1].state_dict().values(), strict=True):
        assert torch.allclose(p.double(), q.double(), rtol=1e-8, atol=1e-8 * float(p.double().abs().max())), key
    with torch.no_grad():
        assert torch.allclose(forms[0](x), module(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_the_form_of_a_form_is_the_form(name, dtype):
    module, x = case(name, dtype)
    form = canonical_form(module, example=x)
    again = canonical_form(form, example=x)
    for key, p in form.state_dict().items():
        assert torch.equal(p, again.state_dict()[key]), key


@pytest.mark.parametrize("name", CASES)
def test_another_function_has_another_fingerprint(name):
    module, x = case(name)
    other, _ = case(name, seed=1)
    assert fingerprint(module, example=x) != fingerprint(other, example=x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_equal_fingerprints_on_an_orbit(name, dtype):
    module, x = case(name, dtype)
    assert fingerprint(move(module, drawn(module, x, 7), example=x), example=x) == fingerprint(module, example=x)


@pytest.mark.parametrize("name", ["relu", "conv", "residual tanh"])
def test_another_function_has_another_form(name):
    forms = [canonical_form(module, example=x) for module, x in (case(name), case(name, seed=1))]
    assert any(not torch.allclose(p, q) for p, q in zip(*(f.parameters() for f in forms), strict=True))


def test_a_fingerprint_sees_a_small_change_in_float64():
    module, x = case("relu")
    before = fingerprint(module, example=x)
    with torch.no_grad():
        module.layers[0].weight[0, 0] += 1e-4 * module.layers[0].weight[0].norm()
    assert fingerprint(module, example=x) != before


def test_redundant_neurons_do_not_change_a_fingerprint():
    module, x = case("relu")
    wide = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    with torch.no_grad():
        for layer, source in zip((wide[0], wide[2], wide[4]), module.layers, strict=True):
            layer.weight.zero_()
            layer.bias.zero_()
            rows, columns = source.weight.shape
            layer.weight[:rows, :columns], layer.bias[:rows] = source.weight, source.bias
    assert fingerprint(wide, example=x) == fingerprint(module, example=x)


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1) @ self.v(x)


def test_attention_has_a_fingerprint_but_no_canonical_form():
    module, x = Attends().double().eval(), torch.randn(2, 3, 4, dtype=torch.float64)
    with pytest.raises(NoRule, match="attention"):
        canonical_form(module, example=x)
    assert fingerprint(module, example=x).startswith("iw1-f64-")
