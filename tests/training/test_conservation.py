"""``conservation_laws``: counts that two programs agree on, records, modes, losses, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_models import Residual, Transformer, gradient, mlp, normed, seeded
from test_gauge_laws import CASES, ROWS, noise
from torch import Tensor, nn

import intertwiner as iw
from intertwiner.errors import Contradiction, NonFiniteWeights, ShapeMismatch, WrongUse
from intertwiner.training import ConservationLaws, conservation_laws
from intertwiner.training import conservation as room

OPEN = {
    "an appended key": "40 of them are independent, and there can be up to 48",  # the sum of the two biases, by key
    "a table of places": "no rearrangement",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n.startswith("transformer") else n for n in CASES]
)
def test_the_laws_listed_are_all_there_are(name: str) -> None:
    """Charges give laws from below, brackets modulo p a bound from above; neither knows of the other."""
    case = CASES[name]
    found = conservation_laws(seeded(case.make), case.loss, example=case.x, training=case.training, count=True)
    if name in OPEN:
        assert found.verdict.is_undecided
        assert OPEN[name] in found.verdict.reason
        return
    assert found.verdict.is_proved
    assert found.count is not None
    assert found.count.laws == found.count.known
    # All coordinates of a table and of its places together are counted twice: once each, once moved between them.
    assert sum(f.count for f in found.exact) == found.count.laws + name.startswith("transformer")
    assert all(rate < 1e-12 for rate, f in zip(found.rates, found.families, strict=True) if f.exact)


@settings(max_examples=10)
@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=5), st.booleans(), st.booleans(),
    st.sampled_from([nn.ReLU, nn.Identity, nn.LeakyReLU]),
)  # fmt: skip
def test_chains_come_out_proved(widths: list[int], bias: bool, entropy: bool, kind: type[nn.Module]) -> None:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [kind()] if layers else []
        layers.append(nn.Linear(fan_in, fan_out, bias=bias))
    model = seeded(lambda: nn.Sequential(*layers))
    found = conservation_laws(model, "cross_entropy" if entropy else "mse", example=noise(4, widths[0]))
    assert found.count is not None
    assert found.count.known <= found.count.least
    thin = kind is nn.Identity and not bias and widths.count(1) > 1
    alone = widths[-1] == 1  # cross entropy of a single class is zero: nothing moves
    assert found.verdict.is_proved or (entropy and (thin or alone))
    if kind is not nn.Identity:
        assert [f.count for f in found.families if f.kind == "balance"] == widths[1:-1]


def test_laws_without_a_formula_are_counted() -> None:
    model = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((1, 2), (2, 2), (2, 1))))
    found = conservation_laws(model, example=torch.zeros(2, 1))
    assert found.count is not None
    assert (found.count.laws, found.count.known) == (7, 6)
    said = "exactly 7 independent functions that gradient flow conserves whatever data and loss, 1 not listed"
    assert said in found.verdict.claim


def test_a_step_of_training_changes_the_laws_by_their_form() -> None:
    """Plain gradient descent on squared error, by torch alone."""
    model, eta = seeded(Residual), 0.05
    found = conservation_laws(model, example=ROWS, count=False)
    before = found.values(model)
    ((model(ROWS) - noise(9, 2)) ** 2).mean().backward()
    gradients: dict[str, Any] = {n: p.grad for n, p in model.named_parameters()}
    forms = [eta**2 * f.form(gradients) for f in found.families]
    torch.optim.SGD(model.parameters(), lr=eta).step()
    for old, new, form in zip(before, found.values(model), forms, strict=True):
        np.testing.assert_allclose(new - old, form, atol=1e-13)
        assert np.abs(form).max() > 1e-8


def test_a_law_that_is_none_is_not_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = room.gauge_families

    def wrong(*arguments: Any) -> Any:
        first, *rest = honest(*arguments)
        flipped = replace(first.pieces[-1], coefficient=-first.pieces[-1].coefficient)
        return (replace(first, pieces=(*first.pieces[:-1], flipped)), *rest)

    monkeypatch.setattr(room, "gauge_families", wrong)
    with pytest.raises(Contradiction, match=r"is not conserved: along a random gradient it changes by"):
        conservation_laws(seeded(mlp), example=ROWS, count=False)
    with pytest.raises(Contradiction, match=r"is not conserved by the"):
        conservation_laws(seeded(Residual), example=ROWS, count=True, check=False)


def test_a_model_that_insists_on_float32_is_checked_too() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu().float().to(self.b.weight.dtype))

    found = conservation_laws(Half(), example=torch.zeros(2, 3), count=False)
    assert [f.count for f in found.families] == [4]
    assert 1e-12 < max(found.rates) < 1e-5


def test_records_go_there_and_back() -> None:
    for name in ("relu", "batch norm, training", "attention"):
        case = CASES[name]
        found = conservation_laws(seeded(case.make), case.loss, example=case.x)
        again = ConservationLaws.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
        assert again == found
        assert str(again) == str(found)


def test_the_text_says_what_matters() -> None:
    text = str(conservation_laws(seeded(normed), "cross_entropy", example=noise(4, 1, 4, 4)))
    for part in (
        "PROVED", "1.weight[i]^2 + 1.bias[i]^2 - |4.weight[:, 4*i:4+4*i]|^2 = const", "sum 4.bias = const",
        "up to the epsilon of batch norm", "batch norm uses the statistics of the batch", "plain gradient flow",
        "for exact laws", "cross entropy",
    ):  # fmt: skip
        assert part in text


def test_values_of_a_model_a_state_and_a_network() -> None:
    model = seeded(mlp)
    found = iw.conservation_laws(model, example=ROWS, count=False)
    network = iw.trace(model, ROWS)
    for one, other, third in zip(
        found.values(model), found.values(model.state_dict()), found.values(network), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)
    assert [f.where for f in found["0"]] == ["0"]


def test_the_model_is_left_as_it_was() -> None:
    model = seeded(normed).train()
    model.get_submodule("2").eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    conservation_laws(model, example=noise(4, 1, 4, 4))
    assert [m.training for m in model] == [True, True, False, True, True]  # type: ignore[attr-defined]
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_network_has_the_laws_of_its_module() -> None:
    model = seeded(mlp)
    assert conservation_laws(iw.trace(model, ROWS)).families == conservation_laws(model, example=ROWS).families
    network = iw.trace(seeded(normed).eval(), noise(4, 1, 4, 4))
    found = conservation_laws(network, training=False)
    assert max(found.rates) < 1e-12
    found = conservation_laws(network)
    assert "a traced network runs in evaluation mode only" in found.unchecked
    assert not found.rates


def test_tied_tensors_of_a_network_are_one_parameter() -> None:
    case = CASES["tied head"]
    model = seeded(case.make)
    of_module, of_network = conservation_laws(model, example=case.x), conservation_laws(iw.trace(model, case.x))
    assert of_module.parameters == of_network.parameters == 44
    assert [f.count for f in of_network.families] == [4]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_cross_entropy_may_be_a_module(loss: nn.Module) -> None:
    found = conservation_laws(seeded(mlp), loss, example=ROWS)
    assert [f.holds for f in found.families if f.kind == "shift"] == ["cross entropy"] * 2


def test_of_any_other_loss_nothing_is_assumed() -> None:
    for loss in (nn.L1Loss(), nn.functional.huber_loss, nn.MSELoss()):
        found = conservation_laws(seeded(mlp), loss, example=ROWS)
        assert not [f for f in found.families if f.kind == "shift"]
    assert "the loss (huber_loss)" in conservation_laws(seeded(mlp), nn.functional.huber_loss, example=ROWS).assumed[1]


def test_the_outputs_of_a_softmax_need_no_cross_entropy() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(-1)))
    found = conservation_laws(model, example=ROWS)
    assert [(f.formula, f.holds) for f in found.families] == [("sum 0.weight[:, i]", ""), ("sum 0.bias", "")]


def test_classes_may_stand_anywhere() -> None:
    """Pixels: classes on axis 1. Tokens: on the last, where the laws hold and the count is left out."""
    pixels = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Conv2d(3, 4, 1)))
    found = conservation_laws(pixels, "cross_entropy", example=noise(2, 1, 3, 3))
    assert found.verdict.is_proved
    assert [f.count for f in found.families] == [3, 3, 1]
    tokens = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)))
    found = conservation_laws(tokens, "cross_entropy", example=noise(2, 6, 3))
    assert [f.count for f in found.families] == [4, 4, 1]
    assert "axis 2" in found.uncounted
    assert max(found.rates) < 1e-12


def test_counts_are_left_out_where_they_are_large() -> None:
    wide = nn.Sequential(nn.Linear(50, 60), nn.ReLU(), nn.Linear(60, 10))
    found = conservation_laws(wide, example=torch.zeros(2, 50), count=True)
    assert found.listed == 60
    assert "the bound is 3000" in found.uncounted
    assert found.verdict.is_undecided
    assert conservation_laws(wide, example=torch.zeros(2, 50), count=False).uncounted == "not asked for"


def test_data_keywords_and_example_are_alike() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor, *, factor: float = 1.0) -> Tensor:
            return self.b((factor * self.a(x)).relu())

    model = seeded(Named)
    families = conservation_laws(model, data=ROWS).families
    assert conservation_laws(model, example=(ROWS,), kwargs={"factor": 2.0}).families == families


def test_symmetric_data_add_laws_to_linear_chains() -> None:
    """C4 turns the plane: the angle of the only layer is conserved."""
    group, turn = iw.cyclic(4), np.array([[0.0, -1.0], [1.0, 0.0]])
    model = nn.Linear(2, 1, bias=False)
    rho = iw.Representation(group, (turn,)), iw.Representation(group, (np.eye(1),))
    found = conservation_laws(model, symmetry=rho, example=torch.zeros(2, 2))
    assert found.data_symmetry is not None
    assert found.data_symmetry.extra == 1
    spelt = iw.Symmetry(group, iw.vector(matrix=[turn]), iw.invariant())
    again = conservation_laws(model, symmetry=spelt, example=torch.zeros(2, 2)).data_symmetry
    assert again is not None
    assert again.with_symmetry == found.data_symmetry.with_symmetry
    with pytest.raises(ShapeMismatch, match="3 inputs and 2 outputs, the actions have dimensions 2 and 1"):
        conservation_laws(seeded(mlp), symmetry=rho, example=ROWS)


def test_what_makes_no_sense_is_refused() -> None:
    model = seeded(mlp)
    with pytest.raises(WrongUse, match="known by name are mse, cross_entropy, got 'hinge'"):
        conservation_laws(model, "hinge", example=ROWS)
    with pytest.raises(WrongUse, match="a name, a module or a function, got int"):
        conservation_laws(model, 3, example=ROWS)  # type: ignore[arg-type]
    with pytest.raises(WrongUse, match="give data=, or example="):
        conservation_laws(model)
    with pytest.raises(WrongUse, match="got str"):
        conservation_laws("model", example=ROWS)  # type: ignore[arg-type]
    with pytest.raises(WrongUse, match="at least 0, got -1"):
        conservation_laws(model, example=ROWS, seed=-1)
    network = iw.trace(model, ROWS)
    with torch.no_grad():
        model.get_submodule("2").weight[0, 0] = float("inf")  # type: ignore[index]
    with pytest.raises(NonFiniteWeights):
        conservation_laws(model, example=ROWS)
    with pytest.raises(NonFiniteWeights, match=r"'2\.weight'"):
        conservation_laws(network)
    frozen = seeded(mlp).requires_grad_(False)
    with pytest.raises(WrongUse, match="requires_grad is False everywhere"):
        conservation_laws(frozen, example=ROWS)


def test_seeds_change_nothing_but_rates() -> None:
    model = seeded(lambda: Transformer())
    one, other = (
        conservation_laws(model, example=torch.zeros(2, 5, dtype=torch.int64), seed=s, count=False) for s in (0, 7)
    )
    assert one.families == other.families
    assert one.rates != other.rates
    assert conservation_laws(model, example=torch.zeros(2, 5, dtype=torch.int64), seed=7, count=False) == other
    assert gradient(model, torch.zeros(2, 5, dtype=torch.int64))


def test_a_dead_neuron_has_fewer_directions_and_both_ranks_are_given() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(3, 4), nn.Linear(4, 2)
    network = nn.Sequential(first, nn.ReLU(), last)
    alive = conservation_laws(network, example=torch.zeros(2, 3))
    assert alive.local is not None and alive.local.here == alive.local.generic == 22
    assert alive.local.verdict.is_proved and "22 here and generically; PROVED" in str(alive)
    with torch.no_grad():
        for dead_part in (first.weight[1], first.bias[1:2], last.weight[:, 1]):
            dead_part.zero_()
    dead = conservation_laws(network, example=torch.zeros(2, 3))
    assert dead.local is not None and dead.local.here < dead.local.generic == 22
    assert f"not locally constant: generic 22, here {dead.local.here}" in str(dead)
    assert ConservationLaws.from_json(json.loads(json.dumps(dead.to_json()))) == dead


def test_the_rank_at_the_weights_is_taken_on_graphs_too() -> None:
    torch.manual_seed(0)
    first, last = nn.Conv1d(1, 2, 3), nn.Conv1d(2, 2, 1)
    network = nn.Sequential(first, nn.ReLU(), last)
    alive = conservation_laws(network, example=torch.zeros(2, 1, 5))
    assert alive.local is not None and alive.local.here == alive.local.generic
    with torch.no_grad():
        for dead_part in (first.weight[1], list(first.parameters())[1][1:2], last.weight[:, 1]):
            dead_part.zero_()
    dead = conservation_laws(network, example=torch.zeros(2, 1, 5))
    assert dead.local is not None and dead.local.here < dead.local.generic
