"""One layer of attention: a formula, the traced layer of torch, gradients of torch, near misses."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from intertwiner.errors import Contradiction, WrongUse
from intertwiner.network import trace
from intertwiner.training import (
    AttentionLayer,
    Law,
    attention_counts,
    attention_laws,
    count_attention_laws,
    count_laws_of,
)

SIZES = [(2, 1, 1, 1), (3, 1, 2, 2), (2, 1, 3, 2), (2, 1, 1, 3), (3, 2, 2, 2), (4, 2, 1, 3), (1, 2, 1, 1)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_softmax_has_the_laws_of_its_groups(sizes: tuple[int, int, int, int], bias: bool) -> None:
    d, heads, d_qk, d_v = sizes
    count = count_attention_laws(*sizes, bias=bias)
    assert count.verdict.is_proved, str(count)
    # Matrices of rank d at most: two symmetric blocks as for two linear layers, and the invisible bias.
    expected = heads * (two_layers(d_qk, d + bias, d) + two_layers(d_v, d, d + bias) + bias * d_qk)
    assert count.laws == expected


def two_layers(r: int, n: int, m: int) -> int:
    """Laws of a product of m x r by r x n matrices [Marcotte, Gribonval, Peyre 2023]."""
    s = n + m
    return r * (r + 1) // 2 if s >= r else s * r - s * (s - 1) // 2


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_lightning_has_one_more_per_head(sizes: tuple[int, int, int, int], bias: bool) -> None:
    d, heads, d_qk, d_v = sizes
    count = count_attention_laws(*sizes, bias=bias, kind="lightning")
    assert count.verdict.is_proved, str(count)
    if d == 1 and not bias:
        assert count.laws == count.parameters - 1
        assert "one curve" in count.verdict.reason
    else:
        assert count.laws == heads * (d_qk * (d_qk + 1) // 2 + d_v * (d_v + 1) // 2 + 1)


class Layer(torch.nn.Module):
    """The layer written in torch, its parameters in the order of `AttentionLayer`."""

    def __init__(self, layer: AttentionLayer) -> None:
        super().__init__()
        self.layer = layer
        self.theta = torch.nn.Parameter(torch.randn(layer.parameters, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer, t = self.layer, self.theta
        out = torch.zeros_like(x)
        for head in layer.numbers:
            Q, K, V, O = (t[torch.from_numpy(part)] for part in (head.Q, head.K, head.V, head.O))
            q, k, v = (x @ m.T for m in (Q, K, V))
            if layer.bias:
                q, k, v = (z + t[torch.from_numpy(b)] for z, b in ((q, head.q), (k, head.k), (v, head.v)))
            scores = q @ k.transpose(-1, -2)
            weights = torch.softmax(scores, -1) if layer.kind == "softmax" else scores
            out = out + weights @ v @ O.T
        return out + t[torch.from_numpy(layer.last)] if layer.bias else out


LAYERS = [
    AttentionLayer(*sizes, bias=bias, kind=kind)
    for sizes, bias, kind in itertools.product([(3, 2, 2, 2), (2, 1, 2, 3)], [False, True], ["softmax", "lightning"])
]


def slope(layer: AttentionLayer) -> tuple[np.ndarray, np.ndarray]:
    torch.manual_seed(1)
    module = Layer(layer)
    x, y = torch.randn(2, 6, 5, layer.d, dtype=torch.float64)
    torch.nn.functional.mse_loss(module(x), y).backward()
    assert module.theta.grad is not None
    return module.theta.detach().numpy(), module.theta.grad.numpy()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_torch_gradients_are_tangent_to_the_laws(layer: AttentionLayer) -> None:
    theta, g = slope(layer)
    noise = 1e-13 * np.linalg.norm(theta) * np.linalg.norm(g)
    laws = attention_laws(layer)
    assert max(abs(law.gradient(theta) @ g) for law in laws) < noise
    if layer.bias:
        still = np.concatenate([head.k for head in layer.numbers])
        assert (np.abs(g[still]).max() < noise) == (layer.kind == "softmax")
    for law in laws:
        (p, q, c), *rest = law.terms
        assert abs(replace(law, terms=((p, q, -c), *rest)).gradient(theta) @ g) > 1e4 * noise


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_real_gradients_lie_in_v(layer: AttentionLayer) -> None:
    """V from phi holds the gradients that torch finds at many inputs, and for lightning is spanned by them."""
    from intertwiner.exact.floats import Floats
    from intertwiner.numerics.seeds import rng

    field = Floats()
    object.__setattr__(field, "prime", 7)
    module = Layer(layer)
    rows = []
    for seed in range(2 * layer.parameters):
        torch.manual_seed(seed)
        out = module(torch.randn(1, 5, layer.d, dtype=torch.float64))
        (g,) = torch.autograd.grad((torch.randn_like(out) * out).sum(), module.theta)
        rows.append(g.numpy() / np.linalg.norm(g.numpy()))
    own, theta = np.array(rows), module.theta.detach().numpy()
    drawn = layer.draw(layer.parameters + 10, field, rng(1)).gradients(theta[None], field)[0]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    _, values, right = np.linalg.svd(drawn)
    basis = right[: int((values > 1e-9).sum())]
    assert np.abs(own - own @ basis.T @ basis).max() < 1e-10
    assert np.linalg.matrix_rank(own, tol=1e-9) == len(basis) < layer.parameters


def test_the_traced_layer_has_the_same_count() -> None:
    module = torch.nn.MultiheadAttention(4, 2, bias=True, batch_first=True).eval()

    class Self(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x, x, x, need_weights=False)[0]

    count = count_laws_of(trace(Self().eval(), torch.zeros(2, 3, 4)))
    assert count.most == count_attention_laws(4, 2, 2, 2, bias=True).laws


def test_a_bias_left_out_is_a_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(layer: AttentionLayer) -> tuple[Law, ...]:
        biases = {int(n) for head in layer.numbers for n in (*head.q, *head.v)}
        laws = attention_laws(layer)
        return tuple(replace(law, terms=tuple(t for t in law.terms if t[0] not in biases)) for law in laws)

    monkeypatch.setattr(attention_counts, "attention_laws", bare)
    with pytest.raises(Contradiction, match="Q Q"):
        count_attention_laws(3, 1, 2, 2, bias=True)
    assert count_attention_laws(3, 1, 2, 2).laws == 6


@pytest.mark.parametrize(
    ("sizes", "kind", "words"),
    [
        ((3, 0, 2, 2), "softmax", "at least 1"),
        ((3, 1, 2.0, 2), "softmax", "whole numbers"),
        ((3, 1, True, 2), "softmax", "whole numbers"),
        ((3, 1, 2, 2), "linear", "'linear'"),
        ((64, 4, 16, 16), "softmax", "16384 parameters"),
    ],
)
def test_bad_input_is_refused(sizes: tuple, kind: str, words: str) -> None:
    with pytest.raises(WrongUse, match=words) as caught:
        count_attention_laws(*sizes, kind=kind)
    assert "Nothing was computed." in str(caught.value)
