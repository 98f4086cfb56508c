"""Timing in turn, and compiled forms: they compute the same, and every layer of many is compiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intertwiner.algebra import GSet, Representation, dihedral
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite import executors
from intertwiner.rewrite.executors import alternating, compiled_alone
from intertwiner.rewrite.isotypic import IsotypicLinear

D4 = dihedral(4)


def shuffled(text: str, seed: int) -> Representation:
    rho = GSet.parse(D4, text).representation()
    move = Monomial(np.random.default_rng(seed).permutation(rho.dimension))
    return Representation(D4, tuple(move @ m @ move.inverse() for m in rho.images))


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
