"""Traced networks: counts as for chains, laws by structure that fill the rest, V against gradients of torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from law_zoo import ZOO, Exhibit, Laws, first_hidden_laws
from torch import Tensor, nn

from intertwiner.errors import Contradiction, NoRule, WrongUse
from intertwiner.exact.floats import Floats
from intertwiner.network import Network, trace
from intertwiner.numerics.modular import PRIMES, Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng
from intertwiner.training import (
    Certain,
    Chain,
    ConservationCount,
    Law,
    Lowered,
    certain_laws,
    count_laws,
    count_laws_of,
    law_gradients,
    lower,
    network_counts,
)

FIELD = Modulus()


def traced(module: nn.Module, *shape: int) -> Network:
    return trace(module.eval(), torch.zeros(shape))


def sequential(chain: Chain, layer: Callable[..., nn.Module] = nn.Linear) -> nn.Sequential:
    parts: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(chain.widths):
        parts += [layer(fan_in, fan_out, bias=chain.bias)] + [nn.ReLU()] * (chain.activation == "relu")
    return nn.Sequential(*(parts[:-1] if chain.activation == "relu" else parts))


CHAINS = [
    Chain(widths, activation, bias)
    for widths in [(2, 3, 2), (1, 2, 2, 1), (3, 2, 3, 2)]
    for activation, bias in itertools.product(["linear", "relu"], [False, True])
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_a_chain_as_a_graph_has_the_count_and_the_fields_of_the_chain(chain: Chain) -> None:
    lowered = lower(traced(sequential(chain), 1, chain.widths[0]))
    count = count_laws_of(lowered, certain_laws(chain))
    expected = count_laws(chain.widths, chain.activation, bias=chain.bias)
    assert count.verdict.is_proved
    assert (count.laws, count.known, count.ranks) == (expected.laws, expected.known, expected.ranks)
    point = rng(1).integers(-99, 99, size=(1, chain.parameters)).astype(float)
    size = chain.parameters
    by_chain, by_graph = (phi.draw(size, FIELD, rng(2)).gradients(point, FIELD)[0] for phi in (chain, lowered.circuit))
    space = Echelon(size, FIELD)
    space.add(by_chain)
    assert not space.remainder(by_graph).any()
    by_graph[0, 0] += 1
    assert space.full or space.remainder(by_graph).any()


@pytest.mark.parametrize("chain", CHAINS[:8], ids=str)
def test_a_convolution_on_one_pixel_is_a_chain(chain: Chain) -> None:
    module = sequential(chain, lambda a, b, bias: nn.Conv2d(a, b, 1, bias=bias))
    count = count_laws_of(traced(module, 1, chain.widths[0], 1, 1), certain_laws(chain))
    assert count.laws == count_laws(chain.widths, chain.activation, bias=chain.bias).laws


def shown(exhibit: Exhibit) -> tuple[nn.Module, Lowered, Laws]:
    torch.manual_seed(0)
    module = exhibit.make().double().eval()
    lowered = lower(trace(module, exhibit.inputs(0)), batch_statistics=exhibit.training)
    laws = Laws(lowered)
    exhibit.laws(laws, module)
    return module, lowered, laws


seen = lru_cache(maxsize=None)(shown)


@pytest.mark.parametrize("exhibit", ZOO, ids=str)
def test_the_laws_by_structure_are_all(exhibit: Exhibit) -> None:
    _, lowered, laws = seen(exhibit)
    count = count_laws_of(lowered, laws, primes=PRIMES[:1])
    assert count.verdict.is_proved, str(count)
    assert count.laws == exhibit.number
    assert count.parameters == lowered.columns.total


class Small(Floats):
    """Float64 with random numbers of one digit."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "prime", 7)


def slopes(exhibit: Exhibit, module: nn.Module, lowered: Lowered, count: int) -> np.ndarray:
    """Gradients that torch computes, of random functions of the outputs, at random inputs."""
    module.train(exhibit.training)
    named = dict(module.named_parameters())
    chosen = [named[n] for n in lowered.columns.shapes]
    rows = []
    for seed in range(count):
        out = module(exhibit.inputs(seed))
        loss = (torch.randn_like(out) * out).sum() + (out**2).sum()
        parts = torch.autograd.grad(loss, chosen)
        rows.append(torch.cat([g.ravel() for g in parts]).numpy())
    module.eval()
    out = np.array(rows)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize("exhibit", ZOO, ids=str)
def test_gradients_of_torch_lie_in_v_and_across_the_laws(exhibit: Exhibit) -> None:
    """The step from the network to phi, seen from outside: V holds every gradient, and no law moves along one."""
    module, lowered, laws = seen(exhibit)
    field = Small()
    own = slopes(exhibit, module, lowered, 20)
    drawn = lowered.circuit.draw(lowered.columns.total + 10, field, rng(1))
    _, values, right = np.linalg.svd(drawn.gradients(lowered.theta[None], field)[0])
    basis = right[: int((values > 1e-9 * values[0]).sum())]
    assert np.abs(own - own @ basis.T @ basis).max() < 1e-11
    noise = rng(2).normal(size=lowered.columns.total)
    assert np.abs(noise - noise @ basis.T @ basis).max() > 1e-3  # V is not everything
    rates = laws(lowered.theta, field) @ own.T
    assert np.abs(rates).max() < 1e-10
    for row in laws.quadratic[:3]:  # a near miss moves
        (p, q, c), *rest = row.terms
        wrong = Law(row.formula, 0, (0, 0), "", row.parameters, ((p, q, -c), *rest))
        assert np.abs(law_gradients([wrong], lowered.theta - laws.centre, field) @ own.T).max() > 1e-8


EXACT = [
    (
        nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=(2, 0), output_padding=(1, 2), dilation=2, groups=2),
        (4, 3, 4),
    ),
    (nn.ConvTranspose1d(2, 3, 2, padding=1, bias=False), (2, 5)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode="reflect"), (4, 7, 6)),
    (nn.Sequential(nn.Conv1d(2, 3, 2), nn.AvgPool1d(3, 2, 1, ceil_mode=True, count_include_pad=False)), (2, 9)),
    (nn.Sequential(nn.Conv1d(2, 3, 2), nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(9, 2)), (2, 9)),
    (nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2)), nn.Linear(2, 3, bias=False)), (3,)),
]


@pytest.mark.parametrize(("module", "shape"), EXACT, ids=lambda x: str(x).split("(")[0])
def test_a_drawn_function_is_what_the_module_computes(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Without gates and cuts: the gradient of ``<c, f(x; theta)>`` at the numbers that were drawn."""
    module = module.double()
    lowered, field = lower(trace(module.eval(), torch.zeros(1, *shape).double())), Small()
    drawn = lowered.circuit.draw(3, field, rng(1))
    found = drawn.gradients(lowered.theta[None], field)[0]
    (inputs,), (ends,) = drawn.free.values(), drawn.weights
    chosen = [dict(module.named_parameters())[n] for n in lowered.columns.shapes]
    for row, x, c in zip(found, inputs, ends, strict=True):
        out = module(torch.from_numpy(x))
        assert out.shape == c.shape
        parts = torch.autograd.grad((out * torch.from_numpy(c)).sum(), chosen)
        np.testing.assert_allclose(row, torch.cat([g.ravel() for g in parts]).numpy(), atol=1e-9)


class Masked(nn.Module):
    """Every token sees itself alone, or itself and the first."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(2, 2, bias=False) for _ in range(3))
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), attn_mask=self.mask)


def test_scores_that_are_masked_are_not_seen() -> None:
    alone = torch.eye(3, dtype=torch.bool)
    first = alone.clone()
    first[:, 0] = True
    assert count_laws_of(traced(Masked(alone), 1, 3, 2)).most == 8  # no score matters: Q and K stay
    assert count_laws_of(traced(Masked(first), 1, 3, 2)).most == 3


@pytest.mark.parametrize("exhibit", [ZOO[0], ZOO[2], ZOO[7]], ids=str)
def test_a_wrong_law_is_a_contradiction_and_a_missing_one_a_gap(exhibit: Exhibit) -> None:
    _, lowered, laws = shown(exhibit)
    row = laws.quadratic[0]
    laws.quadratic[0] = Law(row.formula, 0, (0, 0), "", row.parameters, row.terms[1:])
    with pytest.raises(Contradiction, match="known law 0 is not conserved"):
        count_laws_of(lowered, laws)
    del laws.quadratic[0]
    count = count_laws_of(lowered, laws, primes=PRIMES[:1])
    assert count.verdict.is_undecided
    assert (count.least, count.most) == (exhibit.number - 1, exhibit.number)


def test_the_mean_of_a_batch_norm_matters() -> None:
    """The law is ``|W|^2 + (b - mean)^2 - gamma^2``; without a bias before the norm there is none."""
    _, lowered, laws = shown(ZOO[0])
    laws.centre[:] = 0
    with pytest.raises(Contradiction):
        count_laws_of(lowered, laws)
    bare = nn.Sequential(nn.Conv1d(2, 3, 1, bias=False), nn.BatchNorm1d(3), nn.ReLU(), nn.Conv1d(3, 2, 1))
    bare[1].running_mean.normal_()  # type: ignore[union-attr]
    count = count_laws_of(traced(bare, 1, 2, 4))
    assert count.most == 3
    bare[1].running_mean.zero_()  # type: ignore[union-attr]
    assert count_laws_of(traced(bare, 1, 2, 4)).most == 6


def test_frozen_parameters_are_constants_and_unread_ones_are_left_out() -> None:
    module = sequential(Chain((2, 3, 2), "relu", True))
    module.register_parameter("unread", nn.Parameter(torch.zeros(7)))
    network = traced(module, 1, 2)
    assert lower(network).circuit.parameters == 17
    lowered = lower(network, trainable={"0.weight", "0.bias"})
    assert lowered.columns.starts == {"0.weight": 0, "0.bias": 6}
    count = count_laws_of(lowered)
    assert count.laws == 0  # the balances need both sides
    np.testing.assert_array_equal(lowered.theta[6:], network.state["0.bias"].numpy())


class SharedNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 2)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))


def test_every_name_of_a_shared_tensor_leads_to_its_place() -> None:
    network = traced(SharedNames(), 1, 3)
    for trainable in (None, {"a.weight", "head.weight", "head.bias"}, {"b.weight", "head.weight", "head.bias"}):
        lowered = lower(network, trainable=trainable)
        assert lowered.columns.total == lowered.circuit.parameters == 17
        assert lowered.columns.starts["a.weight"] == lowered.columns.starts["b.weight"] == 0
    assert lower(network, trainable={"head.bias"}).columns.starts == {"head.bias": 0}


def test_cross_entropy_adds_the_sums_over_the_classes() -> None:
    chain = Chain((2, 3, 4), "relu", True)
    network = traced(sequential(chain), 1, 2)
    assert count_laws_of(network, certain_laws(chain), loss="cross_entropy").verdict.is_undecided
    lowered = lower(network, loss="cross_entropy")
    laws = Laws(lowered)
    first_hidden_laws(laws, network.module)
    for i in range(3):
        laws.still((1, "2.weight", np.s_[:, i]))
    laws.still((1, "2.bias", np.s_[:]))
    assert count_laws_of(lowered, laws).laws == 3 + 4
    with pytest.raises(Contradiction):
        count_laws_of(network, laws)


def test_a_count_is_read_back_from_json_and_says_what_it_assumes() -> None:
    count = count_laws_of(traced(sequential(Chain((2, 2, 1), "relu")), 1, 2))
    assert ConservationCount.from_json(json.loads(json.dumps(count.to_json()))) == count
    assert count.verdict.is_undecided
    proved = count_laws_of(traced(sequential(Chain((2, 2, 1), "relu")), 1, 2), certain_laws(Chain((2, 2, 1), "relu")))
    assert any("free numbers" in h for h in proved.verdict.hypotheses)


class Sorted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(self.layer(x), dim=-1)[0]


class AcrossTheBatch(nn.Module):
    def __init__(self, across: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.across = nn.Linear(3, 3), across

    def forward(self, x: Tensor) -> Tensor:
        return self.across(self.layer(x))


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.tanh(self.w)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: count_laws_of(traced(Sorted(), 1, 3)), NoRule, "sort"),
        (lambda: lower(traced(AcrossTheBatch(lambda z: z.softmax(0)), 2, 3)), NoRule, "batch"),
        (lambda: lower(traced(AcrossTheBatch(lambda z: z - z.mean(0)), 2, 3)), NoRule, "batch"),
        (lambda: count_laws_of(traced(Doubled(), 1, 3)), NoRule, "no rearrangement"),
        (
            lambda: lower(traced(nn.Sequential(nn.Linear(2, 2), nn.PReLU()), 1, 2)),
            NoRule,
            "'1.weight': .* plain number",
        ),
        (lambda: lower(traced(nn.Linear(2, 2), 1, 2), trainable={"nothing"}), WrongUse, "'nothing' is no parameter"),
        (lambda: lower(traced(nn.Linear(2, 2), 1, 2), trainable=()), WrongUse, "no operator of Linear reads"),
        (lambda: lower(traced(nn.Linear(2, 2), 1, 2), loss="mae"), WrongUse, "'mae'"),
        (lambda: count_laws_of(lower(traced(nn.Linear(2, 2), 1, 2)), loss="cross_entropy"), WrongUse, "lower"),
        (lambda: count_laws_of(traced(nn.Linear(99, 99), 1, 99)), WrongUse, "9900 parameters"),
        (lambda: count_laws_of(traced(nn.Linear(2, 2), 1, 2), seed=-1), WrongUse, "seed"),
        (lambda: count_laws_of(traced(nn.Linear(2, 2), 1, 2), lambda t, f: np.zeros((1, 4))), WrongUse, "rows of 6"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "Nothing was co" in str(caught.value)


def test_too_much_work_is_refused_with_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    network = traced(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), 1, 1, 32, 32)
    monkeypatch.setattr(network_counts, "MOST_SECONDS", 0.5)
    with pytest.raises(WrongUse, match=r"188 parameters would take about \d+ s and \d\.\d GB.*Nothing was computed"):
        count_laws_of(network)


def test_certain_laws_may_be_handed_over_with_their_names() -> None:
    network = traced(nn.Linear(1, 1), 1, 1)
    wrong = Certain(lambda theta, field: np.array([[1.0, 0.0]]), ["the weight"])
    with pytest.raises(Contradiction, match="the weight is not conserved"):
        count_laws_of(network, wrong)
