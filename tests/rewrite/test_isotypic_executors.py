"""The choice among executors: the faster wins, the dense layer wins ties, compiled forms compute the same."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intertwiner.algebra import GSet, Orbit, Representation, cyclic, dihedral, trivial_subgroup
from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.gauge import pointwise
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite import executors
from intertwiner.rewrite.executors import alternating, choose, compiled_alone, fastest
from intertwiner.rewrite.isotypic import FrozenIsotypicLinear, IsotypicLinear
from intertwiner.rewrite.isotypic_chain import ChainLayer, chain_layers, fastest_chain, isotypic_chain
from intertwiner.rewrite.isotypic_orbits import grouped_form
from intertwiner.rewrite.layers import TwinChain, tied_layer
from intertwiner.rewrite.module import to_chain_module

D4 = dihedral(4)


class Slow(nn.Module):
    """The identity, after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


def regular(copies: int) -> Representation:
    return grouped_form(GSet.of(D4, [Orbit(trivial_subgroup(D4), multiplicity=copies)]).representation())[0]


def shuffled(text: str, seed: int) -> Representation:
    rho = GSet.parse(D4, text).representation()
    move = Monomial(np.random.default_rng(seed).permutation(rho.dimension))
    return Representation(D4, tuple(move @ m @ move.inverse() for m in rho.images))


@pytest.mark.parametrize(
    ("blocks", "dense", "winner"), [(0.002, 0.006, "blocks"), (0.006, 0.002, "dense"), (0.004, 0.004, "dense")]
)
def test_the_faster_is_chosen_and_the_dense_one_wins_a_tie(
    blocks: float, dense: float, winner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that counts what the modules say they take: the outcome does not depend on the machine.
    now = [0.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(executors, "CLOCK", lambda: now[0])
    pair = (("blocks", Slow(blocks)), ("dense", Slow(dense)))
    found = choose(pair, torch.ones(2, 3), rounds=5, compiled=False)
    assert found.chosen.name == winner and found.dense.name == "dense"
    assert found.ratio == pytest.approx(dense / blocks)
    assert set(found.seconds) == {"blocks", "dense"}
    assert found.skipped == {"blocks, compiled": "not asked for", "dense, compiled": "not asked for"}
    assert f"{winner} (blocks " in str(found)


def test_rounds_alternate_and_the_first_is_dropped() -> None:
    calls: list[str] = []

    def named(name: str) -> executors.Run:
        def run(x: Tensor) -> Tensor:
            calls.append(name)
            return x

        return run

    # One call on each reading of the clock, so that every round is one call.
    ticks = iter(range(10_000))
    times = alternating({"a": named("a"), "b": named("b")}, torch.ones(1), 5, clock=lambda: float(next(ticks)))
    assert calls == ["a", "b"] * 7
    assert {name: len(values) for name, values in times.items()} == {"a": 5, "b": 5}


def test_the_layer_is_left_alone_and_every_executor_computes_the_same() -> None:
    layer = IsotypicLinear(regular(8), regular(8), activation=nn.ReLU())
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    found = fastest(layer, torch.randn(16, 64), rounds=5, compiled=False)
    assert found.difference < 1e-5
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items()) and layer.training
    with pytest.raises(WrongUse, match="4 rounds"):
        fastest(layer, torch.randn(16, 64), rounds=4)
    with pytest.raises(WrongUse, match="pass dense="):
        fastest(layer.frozen(), torch.randn(16, 64))


def test_a_wrong_dense_layer_shows_in_the_difference() -> None:
    layer = IsotypicLinear(regular(8), regular(8), activation=nn.ReLU())
    wrong = layer.dense()
    with torch.no_grad():
        wrong.weight[0] += 1.0
    assert fastest(layer, torch.randn(16, 64), rounds=5, compiled=False, dense=wrong).difference > 0.1


def test_a_compiler_that_fails_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module) -> executors.Run:
        def run(x: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler\nmore")

        return run

    monkeypatch.setattr(executors, "compiled_alone", broken)
    layer = IsotypicLinear(regular(2), regular(2))
    found = fastest(layer, torch.randn(4, 16), rounds=5)
    assert found.skipped["blocks, compiled"] == "torch.compile failed: no C++ compiler"
    assert not found.chosen.compiled


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_blocks_compute_the_same(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: original(module, backend=backend))
    rho_in, rho_out = shuffled("3 x D4/1 + 2 x D4/Cs", 0), shuffled("2 x D4/1 + 1 x D4/C4 + 1 x D4/D4", 1)
    layer = IsotypicLinear(rho_in, rho_out, activation=nn.ReLU())
    x = torch.randn(6, rho_in.dimension)
    with torch.no_grad():
        assert torch.allclose(compiled_alone(layer.frozen())(x), layer.dense()(x), atol=1e-5)
    # Trained through the compiler: the same gradients.
    layer(x).square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    compiled_alone(layer)(x).square().sum().backward()
    assert all(torch.allclose(p.grad, e, atol=1e-4) for p, e in zip(layer.parameters(), expected, strict=True))


def test_every_layer_of_many_is_compiled() -> None:
    """torch counts recompilations by code and gives up in silence after eight; each layer is counted alone."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(1)
        return graph

    torch._dynamo.reset()
    original = torch.compile
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "compile", lambda module: original(module, backend=backend))
        for width in range(1, 11):
            rho = Representation.trivial(D4, width)
            compiled_alone(IsotypicLinear(rho, rho).frozen())(torch.zeros(2, width))
    assert len(graphs) == 10


def chain_of(widths: tuple[str, ...]) -> tuple[list[ChainLayer], Representation, nn.Sequential]:
    rhos = [shuffled(text, seed) for seed, text in enumerate(widths)]
    layers, plain = [], []
    for k, (a, b) in enumerate(pairwise(rhos)):
        made = IsotypicLinear(a, b, dtype=torch.float64, seed=k)
        nn.init.normal_(made.bias)
        last = k + 2 == len(rhos)
        w, bias = made.dense_weight().numpy(), made.dense_bias().numpy()
        layers.append(ChainLayer(w, bias, b, b, None if last else torch.relu))
        plain += [made.dense()] if last else [made.dense(), nn.ReLU()]
    return layers, rhos[0], nn.Sequential(*plain)


def test_a_chain_with_hidden_neurons_regrouped_is_the_same_function() -> None:
    layers, rho_in, plain = chain_of(("2 x D4/1 + 1 x D4/Cs", "3 x D4/1 + 2 x D4/C2v", "4 x D4/1", "1 x D4/Cs"))
    chain = isotypic_chain(layers, rho_in, torch.float64)
    x = torch.randn(7, rho_in.dimension, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(chain(x), plain(x), atol=1e-12)
    # Gathers are left at the two ends only.
    assert [(m.into.gathered, m.out.gathered) for m in chain] == [(True, False), (False, False), (False, True)]


def test_signed_hidden_neurons_keep_their_signs() -> None:
    rho = GSet.parse(D4, "2 x D4/C4-C2 + 1 x D4/1").representation()
    signs = Monomial.diagonal(np.random.default_rng(0).choice([-1.0, 1.0], rho.dimension))
    rho = Representation(D4, tuple(signs @ m @ signs.inverse() for m in rho.images))
    unsigned = Representation(D4, tuple(Monomial(m.index) for m in rho.images))
    ends = shuffled("3 x D4/1", 2)
    first, last = IsotypicLinear(ends, rho, dtype=torch.float64), IsotypicLinear(unsigned, ends, dtype=torch.float64)
    layers = [
        # |z| takes signed permutations to plain ones.
        ChainLayer(first.dense_weight().numpy(), None, rho, unsigned, torch.abs),
        ChainLayer(last.dense_weight().numpy(), None, ends, ends),
    ]
    chain = isotypic_chain(layers, ends, torch.float64)
    x = torch.randn(7, 24, dtype=torch.float64)
    with torch.no_grad():
        expected = x @ first.dense_weight().t()
        assert torch.allclose(chain(x), expected.abs() @ last.dense_weight().t(), atol=1e-12)


def test_the_chosen_chain_computes_the_same_and_says_what_runs_where() -> None:
    layers, rho_in, plain = chain_of(("2 x D4/1", "3 x D4/1", "1 x D4/Cs"))
    chain = isotypic_chain(layers, rho_in)
    x = torch.randn(7, 16)
    found = fastest_chain(chain, x, rounds=5, compiled=False)
    assert len(found.layers) == 2 and found.whole.difference < 1e-5
    with torch.no_grad():
        assert torch.allclose(found.whole.chosen.module(x), plain.float()(x), atol=1e-4)
    assert "by layer 0: " in str(found)
    with pytest.raises(ShapeMismatch, match="expected isotypic layers, got ReLU"):
        fastest_chain(nn.Sequential(nn.ReLU()), x)
    with pytest.raises(ShapeMismatch, match=r"layer 1: a weight of shape \(4, 24\)"):
        isotypic_chain([layers[0], ChainLayer(layers[1].weight, None, rho_in, rho_in)], rho_in)


@pytest.mark.parametrize("name", ["relu", "tanh", "abs"])
def test_a_twin_becomes_a_chain_in_blocks(name: str) -> None:
    rng, swap = np.random.default_rng(0), cyclic(2)
    ends = (Monomial(np.arange(6)[::-1]),)
    signs = np.ones(5) if name == "relu" else np.array([1.0, 1.0, -1.0, -1.0, -1.0])
    hidden = (Monomial([1, 0, 2, 4, 3], signs),)
    first = tied_layer(rng.standard_normal((5, 6)), rng.standard_normal(5), pointwise(name), hidden, ends)
    last = tied_layer(rng.standard_normal((6, 5)), np.zeros(6), None, ends, first.after)
    twin = TwinChain((first, last), ends)
    layers, rho_in = chain_layers(twin, swap)
    x = torch.randn(7, 6, dtype=torch.float64)
    with torch.no_grad():
        found = isotypic_chain(layers, rho_in, torch.float64)(x)
        assert torch.allclose(found, to_chain_module(twin, torch.float64)(x), atol=1e-13)
        assert torch.allclose(isotypic_chain(layers, rho_in, torch.float64)(x.flip(1)), found.flip(1), atol=1e-13)


@pytest.mark.slow
def test_blocks_win_where_the_layer_is_wide_and_dense_where_it_is_narrow() -> None:
    wide = fastest(IsotypicLinear(regular(256), regular(256), activation=nn.ReLU()), torch.randn(256, 2048))
    assert not wide.chosen.is_dense and wide.ratio > 1.5
    assert isinstance(wide.chosen.module, FrozenIsotypicLinear)
    narrow = fastest(IsotypicLinear(regular(1), regular(1), activation=nn.ReLU()), torch.randn(4, 8))
    assert narrow.chosen.is_dense
