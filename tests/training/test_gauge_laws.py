"""The laws of every kind of structure: planted answers, rates along gradients of torch, and near misses that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from law_models import (
    Attention,
    Bent,
    Fused,
    Gated,
    Interleaved,
    Looked,
    Multihead,
    Power,
    Recurrent,
    Residual,
    Rotary,
    Sides,
    TiedHead,
    Transformer,
    convolutions,
    gradient,
    mlp,
    normed,
    seeded,
)
from torch import Tensor, nn

from intertwiner.training import ConservationLaws, Family, Piece, conservation_laws

Kinds = dict[tuple[str, str], int]


@dataclass(frozen=True, eq=False)
class Case:
    """A network with the number of laws of every kind at every place, all of them."""

    make: Callable[[], nn.Module]
    x: Tensor
    laws: Kinds
    loss: str = "mse"
    training: bool = True

    @cache  # noqa: B019  (the cases live as long as the module)
    def found(self) -> tuple[nn.Module, ConservationLaws]:
        model = seeded(self.make)
        # The check of the library is left out: what follows is independent of it.
        laws = conservation_laws(model, self.loss, example=self.x, training=self.training, count=False, check=False)
        return model.train(self.training), laws

    def gradient(self, model: nn.Module, seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return gradient(model, self.x, self.loss, seed)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


ROWS, GRID, SEQUENCE, TOKENS = noise(9, 3), noise(6, 1, 4, 4), noise(3, 5, 8), torch.arange(20).reshape(4, 5) % 7
B, M, S = "balance", "matrix", "shift"

CASES = {
    "relu": Case(mlp, ROWS, {("0", B): 5, ("2", B): 4}),
    "relu without biases": Case(lambda: mlp(bias=False), ROWS, {("0", B): 5, ("2", B): 4}),
    "leaky relu": Case(lambda: mlp(nn.LeakyReLU), ROWS, {("0", B): 5, ("2", B): 4}),
    "abs": Case(lambda: mlp(Bent), ROWS, {("0", B): 5, ("2", B): 4}),
    "t^2": Case(lambda: mlp(lambda: Power(2)), ROWS, {("0", B): 5, ("2", B): 4}),
    "t^3": Case(lambda: mlp(lambda: Power(3)), ROWS, {("0", B): 5, ("2", B): 4}),
    "linear": Case(lambda: mlp(nn.Identity), ROWS, {("0", M): 15, ("2", M): 10}),
    "tanh": Case(lambda: mlp(nn.Tanh), ROWS, {}),
    "cross entropy": Case(mlp, ROWS, {("0", B): 5, ("2", B): 4, ("4", S): 4 + 1}, "cross_entropy"),
    "residual": Case(Residual, ROWS, {("first", M): 10, ("up", B): 6}),
    "gates": Case(Gated, noise(5, 4), {("w", B): 6, ("v", B): 6, ("b", B): 5}),
    "concatenation": Case(Sides, ROWS, {("a", M): 3, ("b", B): 4}),
    "used twice": Case(Recurrent, noise(5, 4), {("a", B): 4}),
    "used twice, linear": Case(lambda: Recurrent(True), noise(5, 4), {("a", M): 10}),
    "tied head": Case(TiedHead, torch.arange(6).reshape(3, 2), {("e", B): 4}),
    "attention": Case(Attention, SEQUENCE, {("q", M): 20, ("v", M): 20, ("k", S): 8}),
    "attention without biases": Case(lambda: Attention(bias=False), SEQUENCE, {("q", M): 20, ("v", M): 20}),
    "shared keys": Case(lambda: Attention(1), SEQUENCE, {("q", M): 10, ("v", M): 10, ("k", S): 4}),
    "rotary": Case(Rotary, SEQUENCE, {("q", B): 4, ("v", M): 20}),
    "interleaved heads": Case(Interleaved, SEQUENCE, {("q", M): 20, ("v", M): 20, ("k", S): 8}),
    "a maximum between linear maps": Case(
        lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.MaxPool2d(2, 1), nn.Conv2d(3, 2, 2)), GRID, {("0", B): 3}
    ),
    "a mean between linear maps": Case(
        lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.AvgPool2d(2, 1), nn.Conv2d(3, 2, 2)), GRID, {("0", M): 6}
    ),
    "fused attention": Case(Fused, SEQUENCE, {("qkv", M): 40, ("qkv", S): 8}),
    "multihead attention": Case(Multihead, SEQUENCE, {("a.in_proj", M): 40, ("a.in_proj", S): 8}),
    "an appended key": Case(
        lambda: Multihead(add_bias_kv=True), SEQUENCE, {("a.in_proj", M): 40}
    ),
    "batch norm, training": Case(normed, GRID, {("0", B): 4, ("0", S): 4, ("1", B): 4}),
    "batch norm, evaluation": Case(normed, GRID, {("0", B): 4, ("1", B): 4}, training=False),
    "batch norm, no bias before": Case(lambda: normed(bias=False), GRID, {("1", B): 4}, training=False),
    "batch norm without gain, training": Case(lambda: normed(False), GRID, {("0", B): 4, ("0", S): 4}),
    "batch norm without gain": Case(lambda: normed(False), GRID, {("0", B): 4}, training=False),
    "convolutions": Case(
        convolutions, noise(3, 2, 6, 6),
        {("0", B): 4, ("2", B): 4, ("5", B): 2, ("5", S): 2, ("6", B): 6, ("8", M): 10, ("9", M): 6},
    ),
    "transformer": Case(
        Transformer, TOKENS,
        {
            ("tokens", B): 1, ("tokens", S): 7, ("add", S): 5 + 8, ("norm1", B): 8, ("norm2", B): 8, ("norm3", B): 8,
            ("attention.q", M): 20, ("attention.v", M): 20, ("attention.k", S): 8, ("attention.o", S): 9, ("up", B): 12,
            ("down", S): 13, ("head", S): 9,
        },
        "cross_entropy",
    ),
    "transformer without gains": Case(
        lambda: Transformer(affine=False), TOKENS,
        {
            ("tokens", B): 1, ("tokens", S): 7, ("add", S): 5 + 8, ("attention.q", M): 20, ("attention.q", S): 8,
            ("attention.v", M): 20, ("attention.v", S): 8, ("attention.k", S): 8 + 8, ("attention.o", S): 9,
            ("up", B): 12, ("up", S): 12, ("down", S): 13, ("head", S): 3,
        },
    ),
    "a table of places": Case(
        Looked, TOKENS, {("tokens", B): 1, ("tokens", S): 7, ("add", S): 5 + 4, ("head", S): 3}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_all_laws_are_found_and_no_more(name: str) -> None:
    case = CASES[name]
    _, found = case.found()
    counts: Kinds = {}
    for family in found.families:
        key = family.where, family.kind
        counts[key] = counts.get(key, 0) + family.count
    assert counts == case.laws


@pytest.mark.parametrize("name", CASES)
def test_laws_do_not_change_along_gradients(name: str) -> None:
    case = CASES[name]
    model, found = case.found()
    for seed in (1, 2):
        state, gradients = case.gradient(model, seed)
        largest = max(float(g.abs().max()) for g in gradients.values())
        for family in found.families:
            rate, scale = family.rates(state, gradients)
            bound = 1e-11 if family.exact else 1e-2
            assert (np.abs(rate) <= bound * (scale + largest * (family.kind == "shift"))).all(), family.formula


def near_misses(family: Family) -> list[tuple[str, Piece, Family]]:
    """One sign flipped, a parameter left out, the rows of another coordinate; with the piece that is wrong."""
    out = []
    for k, piece in enumerate(family.pieces):
        others = (*family.pieces[:k], *family.pieces[k + 1 :])
        flipped = replace(piece, coefficient=-piece.coefficient)
        out.append(("flipped", piece, replace(family, pieces=(*others, flipped))))
        rows = piece.view.places()
        if others:
            out.append(("left out", piece, replace(family, pieces=others)))
        if others and len(rows) > 1:
            view = replace(piece.view, shape=(), strides=(), starts=tuple(np.roll(rows, 1, 0).ravel().tolist()))
            wrong = replace(piece, view=view)
            out.append(("of another neuron", piece, replace(family, pieces=(*others, wrong))))
    return out


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n].laws])
def test_near_misses_change(name: str) -> None:
    case = CASES[name]
    model, found = case.found()
    state, gradients = case.gradient(model)
    largest = max(float(g.abs().max()) for g in gradients.values())
    for family in (f for f in found.families if f.exact and f.kind != "shift"):
        tried = 0
        for what, piece, wrong in near_misses(family):
            if np.abs(piece.view.of(gradients[piece.param].numpy().ravel())).max() < 1e-12 * largest:
                continue  # a key bias: its gradient is zero, so it can stand there or not
            rate, scale = wrong.rates(state, gradients)
            share = np.abs(rate) / np.where(scale > 0, scale, 1.0)
            assert share.max() > 1e-4, f"{family.formula}: {piece.param} {what}"
            tried += 1
        assert tried


@pytest.mark.parametrize("name", [n for n in CASES if any(kind == S for _, kind in CASES[n].laws)])
def test_a_sum_without_one_entry_changes(name: str) -> None:
    case = CASES[name]
    model, found = case.found()
    state, gradients = case.gradient(model)
    for family in (f for f in found.families if f.kind == S and f.pieces[0].view.width > 1):
        piece, *others = family.pieces
        kept = piece.view.places()[:, 1:]
        short = replace(piece.view, shape=(), strides=(), starts=tuple(kept.ravel().tolist()))
        rate, scale = replace(family, pieces=(replace(piece, view=short), *others)).rates(state, gradients)
        assert (np.abs(rate) > 1e-4 * scale).any(), family.formula


def test_biases_of_queries_and_values_are_no_laws() -> None:
    case = CASES["fused attention"]
    model, found = case.found()
    _, gradients = case.gradient(model)
    moving = gradients["qkv.bias"].abs() > 1e-6 * gradients["qkv.bias"].abs().max()
    assert moving.tolist() == [True] * 8 + [False] * 8 + [True] * 8
    (law,) = (f for f in found["qkv"] if f.kind == S)
    assert law.formula == "qkv.bias[8+i]"


def test_a_layer_skipped_changes() -> None:
    """What goes into one hidden layer against what goes out of the next one."""
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2)))
    first, second = conservation_laws(model, example=ROWS, count=False).families
    wrong = replace(first, pieces=(*first.pieces[:2], second.pieces[-1]))
    rate, scale = wrong.rates(*gradient(model, ROWS))
    assert (np.abs(rate) > 1e-4 * scale).all()


def test_a_bias_that_is_no_bias_of_all_keys_is_seen() -> None:
    """With a key that is appended the others' bias shows; ``Multihead`` has it, and the case above has no shift."""
    case = CASES["an appended key"]
    model, _ = case.found()
    _, gradients = case.gradient(model)
    assert gradients["a.in_proj_bias"][8:16].abs().max() > 1e-6


def test_frozen_parameters_join_what_they_write_and_read() -> None:
    model = seeded(mlp)
    layer = model.get_submodule("2")
    assert isinstance(layer, nn.Linear)
    layer.weight.requires_grad_(False)
    (law,) = conservation_laws(model, example=ROWS, count=False).families
    assert law.count == 1
    assert law.formula == "|0.weight|^2 + |0.bias|^2 + |2.bias|^2 - |4.weight|^2"
    rate, scale = law.rates(*gradient(model, ROWS))
    assert abs(rate[0]) < 1e-12 * scale[0]
    layer.bias.requires_grad_(False)
    assert not conservation_laws(model, example=ROWS, count=False).families


def test_frozen_numbers_in_a_linear_stretch_leave_no_matrix() -> None:
    model = seeded(lambda: mlp(nn.Identity))
    model.get_submodule("2").requires_grad_(False)
    assert not conservation_laws(model, example=ROWS, count=False).families


def test_a_frozen_diagonal_mixes_nothing() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 2)))
    middle = model.get_submodule("1")
    assert isinstance(middle, nn.Linear)
    middle.weight.requires_grad_(False).copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    (law,) = conservation_laws(model, example=ROWS, count=False).families
    assert (law.kind, law.count) == ("balance", 4)


@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm1d(4), lambda: nn.GroupNorm(2, 4), lambda: nn.LayerNorm((4, 5))])
def test_a_shift_at_some_places_is_seen(norm: Callable[[], nn.Module]) -> None:
    """Places that are learnt are added before the norm; only what is common to all of them is taken out."""

    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.p, self.n, self.o = (
                nn.Conv1d(2, 4, 1),
                nn.Parameter(torch.ones(1, 4, 5)),
                norm(),
                nn.Linear(5, 2),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.o(self.n(self.a(x) + self.p).relu())

    model = seeded(Placed)
    found = conservation_laws(model, example=noise(3, 2, 5), count=False)
    shifts = [f for f in found.families if f.kind == S and len(f.pieces) == 1]
    assert {f.pieces[0].param for f in shifts} == {"a.bias"}
    assert sum(f.count for f in shifts) == {"BatchNorm1d": 4, "GroupNorm": 2, "LayerNorm": 1}[type(model.n).__name__]
    _, gradients = gradient(model, noise(3, 2, 5))
    assert gradients["p"].abs().min() > 1e-6


def test_norms_of_queries_and_keys_take_out_a_shift_per_head() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.n, self.o = nn.Linear(3, 8), nn.LayerNorm(4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(self.n(self.q(x).view(-1, 2, 4)).relu().reshape(-1, 8))

    model = seeded(Normed)
    found = conservation_laws(model, example=ROWS, count=True)
    assert [(f.kind, f.count) for f in found["q"]] == [("balance", 2), ("shift", 6), ("shift", 2)]
    assert found.verdict.is_proved


def test_row_sums_survive_a_mean_over_places() -> None:
    """Behind a layer norm the coordinates add up to zero, and so do those of the mean token."""

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n, self.o = nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(self.n(x).mean(1))

    model = seeded(Mean)
    (law,) = conservation_laws(model, example=noise(3, 5, 4), count=False).families
    assert law.formula == "sum o.weight[i]"
    rate, scale = law.rates(*gradient(model, noise(3, 5, 4)))
    assert (np.abs(rate) < 1e-12 * scale).all()


def test_a_layer_used_twice_has_no_law_that_only_one_use_has() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.o, self.p = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(self.n(self.a(x))) + self.p(self.a(x + 1).relu())

    found = conservation_laws(seeded(Twice), example=ROWS, count=True)
    assert [f.kind for f in found["a"]] == ["balance"]  # the norm does not see the scale, and p takes it back
    assert found.verdict.is_proved


def test_a_shift_of_half_a_channel_is_seen() -> None:
    """Batch norm takes out what is common to a channel, and this bias is in its upper half only."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
            self.norm, self.last = nn.BatchNorm2d(2), nn.Conv2d(2, 1, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.norm(torch.cat([self.a(x), self.b(x)], 2)))

    model = seeded(Halves)
    found = conservation_laws(model, example=noise(4, 1, 2, 2), count=False)
    assert not [f for f in found.families if f.kind == S]
    _, gradients = gradient(model, noise(4, 1, 2, 2))
    assert gradients["a.bias"].abs().min() > 1e-4


def test_dropout_in_a_linear_stretch_leaves_scales() -> None:
    def stretch(rate: float) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 5), nn.Dropout(rate), nn.Linear(5, 2))

    def kinds(rate: float, training: bool) -> list[str]:
        found = conservation_laws(seeded(lambda: stretch(rate)), example=ROWS, training=training, count=False)
        return [f.kind for f in found.families]

    assert kinds(0.5, True) == ["balance"]
    assert kinds(0.5, False) == kinds(0.0, True) == ["matrix"]


def test_dropout_hides_no_shift_in_front_of_layer_norm() -> None:
    """A mask does not take a common shift with it, so the column sums of its writers are no laws."""

    def shifts(rate: float) -> set[str]:
        model = seeded(lambda: Transformer(dropout=rate))
        return {f.where for f in conservation_laws(model, example=TOKENS, count=False).families if f.kind == "shift"}

    assert {"attention.o", "down"} <= shifts(0.0)
    assert not {"attention.o", "down"} & shifts(0.5)


def test_running_statistics_move_the_centre() -> None:
    case = CASES["batch norm, evaluation"]
    model, found = case.found()
    law = found["0"][0]
    assert "(0.bias[i] - mean)^2" in law.formula
    assert law.exact
    uncentred = replace(law, pieces=tuple(replace(p, centre=()) for p in law.pieces))
    rate, scale = uncentred.rates(*case.gradient(model))
    assert (np.abs(rate) > 1e-3 * scale).any()


def test_an_epsilon_is_said() -> None:
    _, found = CASES["batch norm, training"].found()
    law = found["0"][0]
    assert (law.exact, law.because, law.holds) == (False, "the epsilon of batch norm", "batch norm in training mode")
    _, found = CASES["transformer"].found()
    assert found["tokens"][0].because == "the epsilon 1e-05 of layer norm"


def test_parameters_that_are_used_through_functions_are_pinned() -> None:
    """W is read in the open and once more where nothing is known of it: its laws would be wrong."""

    class Twice(nn.Module):
        def __init__(self, how: Callable[[Tensor, Tensor], Tensor]) -> None:
            super().__init__()
            self.a, self.b, self.how = nn.Linear(3, 4), nn.Linear(4, 2), how

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu()) + self.how(x, self.a.weight)

    ways: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, w: (x @ torch.sin(w).T)[:, :2],
        lambda x, w: torch.cdist(x, w)[:, :2],
    ]
    for how in ways:
        found = conservation_laws(seeded(lambda how=how: Twice(how)), example=ROWS, count=False)
        assert not found.families
        assert found.lost
    (law,) = conservation_laws(seeded(lambda: Twice(lambda x, w: x[:, :2])), example=ROWS, count=False).families
    assert law.count == 4


def test_channels_that_are_shuffled_are_followed() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu().view(-1, 2, 3).transpose(1, 2).reshape(-1, 6))

    model = seeded(Shuffled)
    (law,) = conservation_laws(model, example=ROWS, count=False).families
    assert law.count == 6
    rate, scale = law.rates(*gradient(model, ROWS))
    assert (np.abs(rate) < 1e-12 * scale).all()


def test_an_operator_without_a_rule_is_named() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.cumsum(self.a(x), 1))

    found = conservation_laws(seeded(Sum), example=ROWS)
    assert not found.families
    assert any("cumsum" in reason for _, reason in found.lost)
    assert found.count is None
    assert found.verdict.is_undecided


def test_laws_move_with_the_gauge_and_follow_relabelling() -> None:
    """Scales multiply what they must; another order of neurons is another order of laws."""
    model = seeded(mlp)
    laws = conservation_laws(model, example=ROWS, count=False)
    before = laws.values(model)
    order, moved = torch.tensor([3, 1, 4, 0, 2]), seeded(mlp)
    first, second = moved.get_submodule("0"), moved.get_submodule("2")
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    with torch.no_grad():
        for p in (first.weight, first.bias):
            p.copy_(p[order])
        second.weight.copy_(second.weight[:, order])
    np.testing.assert_allclose(moved(ROWS).detach(), model(ROWS).detach(), atol=1e-12)
    np.testing.assert_allclose(laws.values(moved)[0], before[0][order], atol=1e-12)
    np.testing.assert_allclose(laws.values(moved)[1], before[1], atol=1e-12)
