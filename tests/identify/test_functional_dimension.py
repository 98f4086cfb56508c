"""The functional dimension: reference values, planted null directions with controls, and an independent oracle.

Reference values are those of ``relu_functional_dimension.json`` and ``mlp_local_dimension.json`` of the project.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from intertwiner.errors import EmptyData, NonFiniteData, NoRule, RankUndecided, WrongUse
from intertwiner.identify.dimension.functional import FunctionalDimension, functional_dimension
from intertwiner.network import trace

ATTAINING = json.loads((Path(__file__).parent / "attaining_parameters.json").read_text(encoding="utf-8"))["rows"]


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def chain(
    widths: list[int], *, seed: int = 0, bias: bool = True, act: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), act()]
    return nn.Sequential(*layers[:-1]).eval()


def of_weights(*layers: tuple[list[list[float]], list[float] | None]) -> nn.Sequential:
    model = chain([len(layers[0][0][0]), *(len(w) for w, _ in layers)], bias=layers[0][1] is not None)
    for layer, (w, b) in zip((m for m in model if isinstance(m, nn.Linear)), layers, strict=True):
        layer.weight.data = torch.tensor(w)
        if b is not None:
            layer.bias.data = torch.tensor(b)
    return model


def kinds(found: FunctionalDimension) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for one in found.null_directions:
        counts[one.kind] += one.dimension
    return dict(counts)


def adds_up(found: FunctionalDimension) -> bool:
    return sum(d.dimension for d in found.null_directions) == found.parameters - found.dimension


@pytest.mark.parametrize("row", ATTAINING, ids=lambda row: "-".join(map(str, row["widths"])))
def test_kept_parameters_attain_the_bound(row: dict) -> None:
    """Every row of the reference, 2-5-5-5-1 with 66 and 2-8-8-2 with 98 among them, which no draw had reached."""
    layers = [([[v / 16 for v in r] for r in k["weight"]], [v / 16 for v in k["bias"]]) for k in row["layers"]]
    found = functional_dimension(of_weights(*layers))
    hidden = sum(row["widths"][1:-1])
    total = sum((a + 1) * b for a, b in itertools.pairwise(row["widths"]))
    assert found.dimension == row["dimension"] == total - hidden == found.bound
    assert found.verdict.is_proved
    assert found.verdict.exact
    assert found.verdict.hypotheses["kind"] == "local"
    assert kinds(found) == {"scaling": hidden}
    assert len(found.primes) == 1


def test_a_neuron_moved_away_falls_short_and_says_which() -> None:
    """The same parameters with one deep neuron made active everywhere: a control of the rows above."""
    row = next(r for r in ATTAINING if r["widths"] == [2, 3, 3, 1])
    layers = [([[v / 16 for v in r] for r in k["weight"]], [v / 16 for v in k["bias"]]) for k in row["layers"]]
    layers[1][0][1][:] = [0.5, 0.25, 0.125]
    layers[1][1][1] = 1.0
    found = functional_dimension(of_weights(*layers))
    assert found.dimension < found.bound == row["dimension"]
    assert found.verdict.is_undecided
    assert ("linear", (1,)) in [(d.kind, d.neurons) for d in found.null_directions]
    assert adds_up(found)
    assert len(found.primes) == 2
    assert found.inputs < found.tried // 2  # the others were seen to bring nothing, without their rows


@pytest.mark.parametrize(
    ("widths", "value"), [([2, 3, 1], 6), ([3, 3, 3, 1], 15), ([3, 4, 4, 2], 28), ([4, 4, 4, 4], 40)]
)
def test_without_biases(widths: list[int], value: int) -> None:
    found = [functional_dimension(chain(widths, seed=s, bias=False)) for s in range(6)]
    assert max(f.dimension for f in found) == value
    assert all(f.dimension <= f.bound for f in found)


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": nn.functional.gelu, "sin": torch.sin}
VALUES = {
    "linear": (lambda x: x, {"2-3-1": (3, 2), "3-3-2": (8, 6), "2-3-3-1": (3, 2)}),
    "square": (lambda x: x**2, {"2-3-1": (6, 3), "3-3-2": (17, 12), "2-3-3-1": (15, 5)}),
    "cube": (lambda x: x**3, {"2-3-1": (10, 4), "3-3-2": (17, 12), "2-3-3-1": (19, 10)}),
    "z3+z2+z": (lambda x: x * x * x + x * x + x, {"2-3-1": (10, 9), "3-3-2": (20, 15), "2-3-3-1": (25, 18)}),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("spelt", ["2-3-1", "3-3-2", "2-3-3-1"])
def test_polynomial_networks_are_proved(name: str, spelt: str) -> None:
    function, values = VALUES[name]
    widths = list(map(int, spelt.split("-")))
    for bias, value in zip((True, False), values[spelt], strict=True):
        found = functional_dimension(chain(widths, bias=bias, act=lambda: Function(function)))
        assert (found.dimension, found.bound) == (value, value)
        assert found.exact
        assert found.verdict.is_proved
        assert adds_up(found)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_networks_have_full_rank_with_a_gap(name: str) -> None:
    found = functional_dimension(chain([2, 3, 1], seed=1, act=lambda: Function(SMOOTH[name])))
    assert (found.dimension, found.parameters, found.exact) == (13, 13, False)
    assert found.gap is not None
    assert found.gap > 1e3
    assert found.verdict.is_undecided
    assert not found.null_directions


def test_exp_trades_a_bias_against_a_scale() -> None:
    found = functional_dimension(chain([2, 3, 1], act=lambda: Function(torch.exp)))
    assert found.dimension == 10
    assert kinds(found) == {"shift": 3}
    assert kinds(functional_dimension(chain([2, 3, 1], bias=False, act=lambda: Function(torch.exp)))) == {}


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.integers(0, 10**6), st.booleans())
@settings(max_examples=15)
def test_never_above_the_bound_and_equal_to_a_rank_in_floating_point(widths: list[int], seed: int, bias: bool) -> None:
    """The oracle: autograd in float64 on the same number of other inputs; its rank by gap, where it has one."""
    model = chain(widths, seed=seed, bias=bias)
    found = functional_dimension(model)
    hidden = sum(widths[1:-1])
    assert found.dimension <= found.bound <= found.parameters - found.gauge + _dead(model)
    assert found.gauge == hidden
    assert adds_up(found)
    assert found.verdict.is_proved == found.meets_bound
    try:
        other = functional_dimension(model, exact=False, inputs=200)
    except (RankUndecided, NonFiniteData):
        return
    assert other.dimension <= found.dimension


def _dead(model: nn.Sequential) -> int:
    """Neurons without readers have no orbit under scaling of their own beyond their incoming weights."""
    return sum(int((m.weight == 0).all(0).sum()) for m in model if isinstance(m, nn.Linear))


PLANTED = {
    "duplicate": ([(1, 0, 2.0)], {}, 2, True),
    "opposite pair alone": ([(1, 0, -2.0)], {}, 0, True),
    "never active": ([(1, 0, 0.0)], {1: -1.0}, 5, True),
    "constant": ([(1, 0, 0.0)], {1: 1.0}, 2, True),
    "two opposite pairs": ([(1, 0, -1.0), (3, 2, -1.0)], {}, 4, False),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_neurons_are_named(name: str) -> None:
    copies, biases, extra, proved = PLANTED[name]
    model = chain([3, 6, 2], seed=3)
    control = functional_dimension(model)
    assert kinds(control) == {"scaling": 6}
    with torch.no_grad():
        for to, source, t in copies:
            model[0].weight[to], model[0].bias[to] = t * model[0].weight[source], t * model[0].bias[source]
            if name == "two opposite pairs":
                model[2].weight[:, to] = -model[2].weight[:, source]
        for j, b in biases.items():
            model[0].bias[j] = b
    found = functional_dimension(model)
    word = {"never active": "dead", "two opposite pairs": "bypass"}.get(name, name)
    assert found.dimension == 38 - 6 - extra
    own = int(word == "dead")  # the scale of a dead neuron is counted with the rest of it
    assert kinds(found) == {"scaling": 6 - own} | ({word: extra + own} if extra else {})
    assert found.verdict.is_proved == proved
    named = [d for d in found.null_directions if d.kind == word]
    assert {j for d in named for j in d.neurons} <= {0, 1, 2, 3}
    assert all(d.proved == proved for d in named)


def test_a_pruned_neuron_is_proved_and_one_on_its_kink_is_not() -> None:
    model = chain([3, 6, 2], seed=3)
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 0, 0
    kink = functional_dimension(model)
    assert kink.verdict.is_undecided
    assert "exactly on a breakpoint at every input" in kink.verdict.reason
    with torch.no_grad():
        model[2].weight[:, 1] = 0
    pruned = functional_dimension(model)
    assert pruned.verdict.is_proved
    assert kinds(pruned) == {"scaling": 5, "dead": 6}


def test_full_rank_without_a_latent_action_stays_a_local_statement() -> None:
    """The counterexample of theory 1: 6 = P - hidden, f(-x) = f(x), and rows that are not closed under the sign."""
    triple = of_weights(([[3.0, 1], [-2, 2], [-1, -3]], None), ([[1.0, 1, 1]], None))
    x = torch.randn(50, 2)
    assert torch.allclose(triple(x), triple(-x), atol=1e-5)
    found = functional_dimension(triple)
    assert (found.dimension, found.parameters, found.gauge) == (6, 9, 3)
    assert found.verdict.is_proved
    assert found.verdict.hypotheses["kind"] == "local"
    assert "unique" not in str(found.verdict)


def test_a_family_of_opposite_pairs_with_one_function_is_a_bypass() -> None:
    """2 relu(x) - relu(x + c) + relu(-x - c) + c = |x| for every c: the derivative by c is null."""
    model = of_weights(([[1.0], [1.0], [-1.0]], [0.0, 0.75, -0.75]), ([[2.0, -1.0, 1.0]], [0.75]))
    found = functional_dimension(model)
    assert kinds(found) == {"scaling": 3, "bypass": 1}
    control = of_weights(([[1.0], [1.0], [-1.0]], [0.0, 0.75, -0.5]), ([[2.0, -1.0, 1.0]], [0.75]))
    assert kinds(functional_dimension(control)) == {"scaling": 3}


def test_hidden_directions_change_the_function_to_second_order_only() -> None:
    model = chain([2, 2, 2, 1], seed=0).double()
    found = functional_dimension(model)
    assert found.hidden
    vector = found.hidden[0].vector
    assert vector is not None
    assert sum(float((v**2).sum()) for v in vector.values()) == pytest.approx(1)
    random = {n: torch.randn_like(p) for n, p in model.named_parameters()}
    norm = sum(float((v**2).sum()) for v in random.values()) ** 0.5
    x = torch.randn(2000, 2, dtype=torch.float64) * 4

    def moved(by: dict[str, Tensor], step: float) -> float:
        parameters = {n: p.detach() + step * by[n] for n, p in model.named_parameters()}
        change = torch.func.functional_call(model, parameters, (x,)) - model(x)
        return float(change.detach().abs().median())

    null = {n: torch.tensor(v) for n, v in vector.items()}
    step = 1e-5
    assert moved(null, step) < 1e-4 * moved({n: v / norm for n, v in random.items()}, step)


def test_a_convolution_with_batch_norm_names_its_stretches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    found = functional_dimension(model, example=torch.zeros(2, 1, 6, 6))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.dimension == found.bound == 163 - 7 - 6
    assert kinds(found) == {"scaling": 7, "stretch": 6}
    assert found.verdict.is_proved
    assert len(found.computed) == 2


def test_an_unused_parameter_counts_and_is_named() -> None:
    model = chain([2, 3, 1])
    model.register_parameter("spare", nn.Parameter(torch.ones(2)))
    found = functional_dimension(model)
    assert found.parameters == 15 or "spare" not in dict(trace(model, torch.zeros(2, 2)).state)
    if found.parameters == 15:
        assert kinds(found)["unused"] == 2


def test_a_stream_that_never_fills_its_space() -> None:
    """Weights that only meet a subspace, and weights into directions that nobody reads."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e, self.a, self.b, self.o = nn.Linear(3, 5), nn.Linear(5, 6), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.e(x)
            return self.o(h + self.b(torch.relu(self.a(h))))

    torch.manual_seed(0)
    found = functional_dimension(Residual(), example=torch.zeros(2, 3))
    named = kinds(found)
    assert named["scaling"] == 6
    assert named["linear"] == 25
    assert named["unreached"] == 6 * 2
    assert named["unseen"] >= 15
    assert adds_up(found)


def test_a_gauge_move_and_another_type_change_nothing() -> None:
    model = chain([3, 4, 4, 2], seed=2)
    before = functional_dimension(model)
    with torch.no_grad():
        order = torch.tensor([2, 0, 3, 1])
        scale = torch.tensor([0.5, 4.0, 1.0, 2.0])
        model[0].weight.copy_(scale[:, None] * model[0].weight[order])
        model[0].bias.copy_(scale * model[0].bias[order])
        model[2].weight.copy_(model[2].weight[:, order] / scale)
    assert functional_dimension(model).dimension == before.dimension
    assert functional_dimension(model.double()).dimension == before.dimension


def test_on_given_data_only() -> None:
    """Inputs on a line see less than inputs of the plane."""
    model = chain([2, 3, 1], seed=1)
    line = torch.linspace(-3, 3, 101)[:, None] * torch.tensor([[1.0, 0.5]])
    found = functional_dimension(model, line)
    assert found.dimension < functional_dimension(model).dimension
    assert kinds(found)["unreached"] == 3
    assert found.seed is None
    assert found.inputs <= 101
    assert functional_dimension(model, (torch.randn(400, 2),)).dimension == 10


def test_the_record_prints_and_is_plain() -> None:
    found = functional_dimension(chain([2, 3, 1], seed=1), seed=5)
    assert str(found).startswith("functional dimension 10 of 13, exact, modulo 67108859, ")
    assert "null directions: 3 scaling" in str(found)
    record = json.loads(json.dumps(found.to_json()))
    assert (record["dimension"], record["seed"], record["verdict"]["kind"]) == (10, 5, "PROVED")
    assert functional_dimension(chain([2, 3, 1], seed=1), seed=5).to_json() == found.to_json()
    smooth = functional_dimension(chain([2, 3, 1], seed=1, act=nn.Tanh))
    assert "numerical, gap" in str(smooth)
    assert json.loads(json.dumps(smooth.to_json()))["exact"] is False


def test_many_outputs_are_ranked_from_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An autoencoder has more outputs than memory allows to eliminate: the others only repeat the last layer."""
    from intertwiner.identify.dimension import rank as dimension_rank

    model = chain([3, 5, 4, 30], seed=2)
    before = functional_dimension(model)
    monkeypatch.setattr(dimension_rank, "MEMORY", 2000)
    found = functional_dimension(model)
    assert found.dimension == before.dimension
    assert kinds(found)["scaling"] == 9
    assert found.verdict.kind == before.verdict.kind
    assert adds_up(found)
    short = functional_dimension(model, inputs=8)
    assert short.dimension < found.dimension
    assert kinds(short)["hidden"] == found.parameters - 9 - short.dimension
    assert adds_up(short)


def test_growth_is_reported() -> None:
    seen: list[tuple[int, int]] = []
    found = functional_dimension(
        chain([4, 20, 20, 5], seed=1), progress=lambda inputs, rank: seen.append((inputs, rank))
    )
    assert tuple(seen) == found.growth
    assert [rank for _, rank in seen] == sorted(rank for _, rank in seen)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: functional_dimension(chain([2, 3, 1], act=nn.Tanh), exact=True),
            NoRule,
            "tanh is no piecewise polynomial",
        ),
        (lambda: functional_dimension(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())), WrongUse, "give example="),
        (
            lambda: functional_dimension(of_weights(([[1.0, 0], [0, 1]], None), ([[1.0, 1]], None)), torch.eye(2)),
            EmptyData,
            "none of 2 inputs",
        ),
    ],
)
def test_errors_say_what_to_do(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.slow
def test_four_thousand_parameters() -> None:
    found = functional_dimension(chain([30, 48, 48, 10]))
    assert (found.dimension, found.parameters) == (4234, 4330)
    assert found.verdict.is_proved
    assert len(found.null_directions) == 96
