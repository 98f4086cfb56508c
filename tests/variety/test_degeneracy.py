"""Degenerate parameters: planted neurons are found exactly, and ranks agree with narrower networks and with torch."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import NonFiniteWeights, WrongUse
from intertwiner.numerics.rank import rank
from intertwiner.variety import exact_rows, local_rank
from intertwiner.variety.activation import Activation
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.degeneracy import Degeneracy, degeneracy, row_gauge
from intertwiner.variety.exact_rows import Scale, exact_rank, row_labels
from intertwiner.variety.jacobian import jacobian
from intertwiner.variety.neurovariety import neurovariety

Arrays = list[np.ndarray]

KINDS = {"repeated": "repeated", "out": "zero outgoing", "in": "zero incoming"}

# Ranks by exact computation: generic, repeated neuron, zero outgoing, zero incoming.
RANKS = [
    ((3, 2, 1), 2, (5, 3, 4, 3)),
    ((3, 2, 1), 3, (6, 3, 4, 3)),
    ((3, 3, 1), 3, (9, 6, 7, 6)),
    ((3, 3, 2, 1), 2, (11, 8, 9, 7)),
    ((3, 3, 2, 1), 3, (12, 10, 10, 8)),
]

SMALL = [
    ((2, 2, 1), 2), ((2, 2, 2), 2), ((3, 2, 2), 2), ((3, 3, 1), 3), ((2, 3, 1), 5), ((2, 2, 2, 1), 2),
    ((2, 3, 2, 1), 2), ((3, 2, 2, 1), 2), ((2, 2, 2, 1), 3), ((2, 4, 1), 2), ((4, 2, 1), 2), ((2, 2, 2, 2, 1), 2),
]  # fmt: skip


def draw(net: Architecture, random: np.random.Generator) -> Arrays:
    out = []
    for fan_in, fan_out in pairwise(net.widths):
        out.append(random.standard_normal((fan_out, fan_in)))
        if net.bias:
            out.append(random.standard_normal(fan_out))
    return out


def planted(arrays: Arrays, kind: str, layer: int = 1, factor: float = 1.0) -> Arrays:
    """A network without biases in which neuron 0 of a hidden layer is dead, or neuron 1 repeats it."""
    out = [a.copy() for a in arrays]
    if kind == "repeated":
        out[layer - 1][1] = factor * out[layer - 1][0]
    elif kind == "out":
        out[layer][:, 0] = 0
    elif kind == "in":
        out[layer - 1][0] = 0
    return out


def taken(found: Degeneracy) -> local_rank.LocalRank:
    """The ranks of the Jacobian, where they were taken."""
    assert found.local is not None
    return found.local


@pytest.mark.parametrize(("widths", "r", "ranks"), RANKS)
def test_the_reference_ranks(widths: tuple[int, ...], r: int, ranks: tuple[int, ...], rng: np.random.Generator) -> None:
    net = Architecture(widths, f"t^{r}")
    arrays = draw(net, rng)
    found = [degeneracy(net, planted(arrays, kind)) for kind in ("generic", "repeated", "out", "in")]
    assert tuple(taken(d).rank for d in found) == ranks
    assert all(taken(d).exact and taken(d).generic == ranks[0] for d in found)
    assert [d.is_full for d in found] == [True, False, False, False]
    assert [taken(d).drop_proved for d in found] == [False, True, True, True]
    assert all(d.verdict.is_proved for d in found)


def check_planted(net: Architecture, random: np.random.Generator) -> None:
    """Each kind is found where it was planted; without input it is the narrower network, otherwise no less."""
    layer = int(random.integers(1, net.depth))
    arrays = [a.astype(np.float16).astype(float) for a in draw(net, random)]  # few bits: exact ranks are quick
    generic = degeneracy(net, arrays)
    if any(a == 1 < b for a, b in pairwise(net.widths[:-1])):
        assert generic.of_kind("repeated")  # neurons that read a single number are multiples of each other
        return
    assert generic.is_full, str(generic)
    width = net.widths[layer]
    narrower = 0
    if width > 1:
        fewer = neurovariety((*net.widths[:layer], width - 1, *net.widths[layer + 1 :]), net.activation)
        narrower = fewer.dimension
    for kind, name in KINDS.items():
        if kind == "repeated" and width == 1:
            continue
        found = degeneracy(net, planted(arrays, kind, layer, factor=-2.0))
        neurons = (0, 1) if kind == "repeated" else (0,)
        assert [(f.layer, f.neurons) for f in found.of_kind(name)] == [(layer, neurons)], str(found)
        assert narrower <= taken(found).rank <= taken(generic).rank
        if kind == "in":
            assert taken(found).rank == narrower
            assert (taken(found).drop > 0) == (narrower < taken(generic).rank)


@pytest.mark.parametrize(("widths", "r"), SMALL)
def test_planted_neurons_are_found(widths: tuple[int, ...], r: int, rng: np.random.Generator) -> None:
    check_planted(Architecture(widths, f"t^{r}"), rng)


def test_planted_neurons_of_the_whole_reference_file(repository: Path) -> None:
    path = repository.parent / "shared" / "reference" / "neurovariety_dimensions.csv"
    if not path.is_file():
        pytest.skip("no ../shared/reference beside the repository: this test reads its table of architectures")
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["n_params"]) <= 40]
    assert len(rows) > 250
    for k, row in enumerate(rows):
        net = Architecture(tuple(map(int, row["widths"].split())), f"t^{row['r']}")
        check_planted(net, np.random.default_rng(k))


def test_a_repeated_neuron_need_not_lower_the_rank(rng: np.random.Generator) -> None:
    """Two squares fill the binary quadratic forms already: the rank alone does not see the third one."""
    net = Architecture((2, 3, 1), "t^2")
    found = degeneracy(net, planted(draw(net, rng), "repeated"))
    assert found.of_kind("repeated") and taken(found).drop == 0
    assert taken(found).regular_proved


@pytest.mark.parametrize(("widths", "r"), SMALL[:-1])  # the last one is too badly conditioned for floats
@pytest.mark.parametrize("kind", ["generic", *KINDS])
def test_ranks_agree_with_singular_values(widths: tuple[int, ...], r: int, kind: str, rng: np.random.Generator) -> None:
    net = Architecture(widths, f"t^{r}")
    arrays = planted(draw(net, rng), kind)
    theta = np.concatenate([a.ravel() for a in arrays])
    x = rng.standard_normal((4 * net.parameters, net.inputs))
    from intertwiner.exact.floats import Floats

    J = jacobian(net, theta, x, Floats())
    assert taken(degeneracy(net, arrays)).rank == rank(J, min_gap=30).rank


@pytest.mark.parametrize(
    ("text", "bias", "scale"),
    [
        ("t^2", False, Scale.NONZERO),
        ("t^3", True, Scale.NONZERO),
        ("t^2 + 2t", True, Scale.NONZERO),  # (t + 1)^2 - 1
        ("t^2 + 2t", False, Scale.NONE),
        ("t^3 + 2t", True, Scale.SIGN),
        ("t^4 + t^2", False, Scale.SIGN),
        ("t^4 + t^2 + 3", False, Scale.SIGN),
        ("t^3 + t + 3", False, Scale.NONE),
        ("t^3 + t + 3", True, Scale.SIGN),
        ("t^3 + t^2", True, Scale.NONE),
        ("t^2 + 1", False, Scale.SIGN),
    ],
)
def test_the_gauge_of_rows_follows_the_activation(
    text: str, bias: bool, scale: Scale, rng: np.random.Generator
) -> None:
    """A factor of the gauge makes a neuron a multiple of another one, any other does not: seen by the features."""
    net = Architecture((2, 2, 1), text, bias)  # type: ignore[arg-type]
    found, shift = row_gauge(net)
    assert found is scale
    for factor, allowed in ((1.0, True), (-1.0, scale is not Scale.NONE), (2.0, scale is Scale.NONZERO)):
        arrays = draw(net, rng)
        arrays[0][1] = factor * arrays[0][0]
        if bias:
            arrays[1][1] = factor * (arrays[1][0] + float(shift)) - float(shift)
            arrays[1] = np.round(arrays[1] * 2**20) / 2**20  # so that the sum with the shift is exact
            arrays[1][1] = factor * (arrays[1][0] + float(shift)) - float(shift)
        assert bool(degeneracy(net, arrays).of_kind("repeated")) == allowed, factor
        z = rng.standard_normal(50) * 2
        value = sum(float(c) * (z[:, None] * [1, factor] + (1 - np.array([1, factor])) * -float(shift)) ** k
                    for k, c in net.activation.terms)  # fmt: skip
        features = np.column_stack([value, np.ones(50)]) if bias else np.asarray(value)
        assert (rank(features).rank < features.shape[1]) == allowed


def test_a_shift_is_compared_without_rounding() -> None:
    net = Architecture((1, 2, 1), Activation(((1, Fraction(2, 3)), (2, Fraction(1)))), bias=True)  # (t + 1/3)^2 - 1/9
    scale, shift = row_gauge(net)
    assert (scale, shift) == (Scale.NONZERO, Fraction(1, 3))
    arrays = [np.array([[1.0], [2.0]]), np.array([-1 / 3, -1 / 3]), np.ones((1, 2)), np.zeros(1)]
    assert not degeneracy(net, arrays).of_kind("repeated")  # -1/3 is no float


def test_with_biases_a_neuron_without_weights_is_constant(rng: np.random.Generator) -> None:
    net = Architecture((2, 3, 1), "t^2", bias=True)
    arrays = draw(net, rng)
    arrays[0][2] = 0
    found = degeneracy(net, arrays)
    assert [(f.kind, f.layer, f.neurons) for f in found.inactive] == [("constant", 1, (2,))]
    assert not found.of_kind("repeated")


def test_deeper_layers_and_several_faults_are_named(rng: np.random.Generator) -> None:
    net = Architecture((3, 4, 4, 2), "t^3")
    arrays = draw(net, rng)
    arrays[1][3] = -4 * arrays[1][0]
    arrays[1][:, 2] = 0
    found = degeneracy(net, arrays)
    assert {(f.kind, f.layer, f.neurons) for f in found.faults} == {
        ("rank-deficient", 2, ()), ("zero outgoing", 1, (2,)), ("repeated", 2, (0, 3)),
    }  # fmt: skip
    assert "layer 2 of weights has rank 3 of 4" in str(found)
    assert found.layer_ranks == (3, 3, 2)


def test_a_dead_neuron_is_not_called_repeated_as_well(rng: np.random.Generator) -> None:
    net = Architecture((3, 4, 1), "t^2")  # type: ignore[arg-type]
    arrays = planted(draw(net, rng), "repeated", factor=-2.0)
    arrays[1][0, 1] = 0
    found = degeneracy(net, arrays)
    assert [(f.kind, f.neurons) for f in found.faults] == [("zero outgoing", (1,))]


def test_one_moved_bit_is_seen(rng: np.random.Generator) -> None:
    net = Architecture((3, 2, 1), "t^2")
    arrays = planted(draw(net, rng), "repeated", factor=0.5)
    arrays[0][1, 2] = np.nextafter(arrays[0][1, 2], 9)
    found = degeneracy(net, arrays)
    assert found.is_full and taken(found).rank == 5
    dead = planted(draw(net, rng), "out")
    dead[1][0, 0] = 5e-324
    assert degeneracy(net, dead).is_full


def test_modules_are_read_as_arrays_are(rng: np.random.Generator) -> None:
    import torch
    from torch import nn

    class Power(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**3

    for bias in (False, True):
        module = nn.Sequential(nn.Linear(3, 2, bias=bias), Power(), nn.Linear(2, 1, bias=bias)).eval()
        with torch.no_grad():
            module[0].weight[1] = -2 * module[0].weight[0]  # type: ignore[index,operator]
            if bias:
                module[0].bias[1] = -2 * module[0].bias[0]  # type: ignore[index,operator]
        found = degeneracy(module, example=torch.zeros(2, 3))
        net = Architecture((3, 2, 1), "t^3", bias)  # type: ignore[arg-type]
        arrays = [p.detach().double().numpy() for p in module.parameters()]
        assert found == degeneracy(net, arrays)
        assert [f.neurons for f in found.of_kind("repeated")] == [(0, 1)]


def test_modules_that_are_no_polynomial_chains_are_refused() -> None:
    import torch
    from torch import nn

    example = torch.zeros(2, 3)
    relu = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    with pytest.raises(WrongUse, match=r"no polynomial.*identify"):
        degeneracy(relu, example=example)
    with pytest.raises(WrongUse, match="no chain"):
        degeneracy(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).eval(), example=example)
    mixed = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1, bias=False)).eval()
    with pytest.raises(WrongUse):
        degeneracy(mixed, example=example)
    with pytest.raises(WrongUse, match="has its own"):
        degeneracy(relu, [1.0], example=example)


def test_parameters_that_do_not_fit_are_refused() -> None:
    net = Architecture((2, 2, 1), "t^2")
    with pytest.raises(WrongUse, match="needs its parameters"):
        degeneracy(net)
    with pytest.raises(WrongUse, match=r"takes arrays of shapes .* transposed"):
        degeneracy(net, [np.ones((2, 2)), np.ones((2, 1))])
    with pytest.raises(WrongUse, match="6 parameters"):
        degeneracy(net, np.ones(5))
    with pytest.raises(NonFiniteWeights, match="1 of 6"):
        degeneracy(net, [1, 2, 3, 4, 5, np.nan])
    with pytest.raises(WrongUse, match="1 parameters are no floats, 1/3 among them"):
        degeneracy(net, [1, 2, 3, 4, Fraction(1, 2), Fraction(1, 3)])
    with pytest.raises(WrongUse, match="would be rounded"):
        degeneracy(net, np.array([1, 2, 3, 4, 5, 2**53 + 1]))


def test_large_networks_have_ranks_modulo_primes(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(local_rank, "MOST_ENTRIES", 0)
    net = Architecture((3, 2, 1), "t^2")
    found = degeneracy(net, planted(draw(net, rng), "in"))
    assert (taken(found).rank, taken(found).exact, taken(found).drop_proved) == (3, False, False)
    assert "modulo primes" in str(found)
    assert taken(degeneracy(net, draw(net, rng))).exact  # it meets the bound


small = st.integers(-3, 3).map(float)


@given(st.integers(1, 5), st.integers(1, 3), st.data())
def test_row_labels_agree_with_fractions(n: int, m: int, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.lists(small, min_size=m, max_size=m), min_size=n, max_size=n)))
    factors = np.array(data.draw(st.lists(st.sampled_from([1.0, -1.0, 3.0, 0.1]), min_size=n, max_size=n)))
    rows = np.vstack([rows, rows * factors[:, None]])
    for scale in Scale:
        for shift in (Fraction(0), Fraction(1, 3)):
            found = row_labels(rows, scale, shift=shift)
            assert found.tolist() == slow_labels(rows, scale, shift)


def slow_labels(rows: np.ndarray, scale: Scale, shift: Fraction) -> list[int]:
    exact = [[*map(Fraction, row[:-1]), Fraction(row[-1]) + shift] for row in rows.tolist()]
    out = []
    for i, row in enumerate(exact):
        if not any(row):
            out.append(-1)
            continue
        out.append(next(j for j in range(i + 1) if any(exact[j]) and _same(row, exact[j], scale)))
    return out


def _same(a: list[Fraction], b: list[Fraction], scale: Scale) -> bool:
    if scale is Scale.NONZERO:
        return all(x * v == y * u for x, y in zip(a, b, strict=True) for u, v in zip(a, b, strict=True))
    return a == b or (scale is Scale.SIGN and a == [-x for x in b])


def test_rows_whose_first_entry_a_prime_divides(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = exact_rows.PRIMES
    rows = np.array([[float(p), 1.0], [float(q), 1.0], [2.0 * p, 2.0], [float(p), 2.0]])
    assert row_labels(rows, Scale.NONZERO).tolist() == [0, 1, 0, 3]
    rows = np.array([[float(p), 2.0 * p], [1.0, 2.0], [float(q), 2.0 * q]])
    assert row_labels(rows, Scale.NONZERO).tolist() == [0, 0, 0]


def test_ranks_are_exact() -> None:
    p = float(exact_rows.PRIMES[0])
    assert exact_rank(np.array([[p, 0.0], [0.0, 1.0]])) == 2  # singular modulo the prime
    assert exact_rank(np.array([[0.1, 0.2], [0.2, 0.4]])) == 1
    assert exact_rank(np.array([[0.1, 0.2], [0.2, np.nextafter(0.4, 1)]])) == 2


@pytest.mark.parametrize("text", ["1/3 t^2", "3t^3", "t^2 + t"])
def test_coefficients_of_the_activation_do_not_matter_to_the_exact_rank(text: str, rng: np.random.Generator) -> None:
    net = Architecture((3, 2, 1), text)  # type: ignore[arg-type]
    found = degeneracy(net, planted(draw(net, rng), "in"))
    assert taken(found).exact and taken(found).rank == (3 if "+" not in text else 6)


def test_json_reads_back(rng: np.random.Generator) -> None:
    net = Architecture((3, 3, 2, 1), "t^2")
    found = degeneracy(net, planted(draw(net, rng), "repeated"))
    assert Degeneracy.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert degeneracy(net, planted(draw(net, rng), "repeated"), seed=7).local == found.local


def test_wide_layers_without_a_rank_of_the_jacobian(rng: np.random.Generator) -> None:
    net = Architecture((64, 128, 32, 10), "t^2")  # type: ignore[arg-type]
    arrays = [a.astype(np.float32) for a in draw(net, rng)]
    assert degeneracy(net, arrays).is_full
    arrays[1][5], arrays[1][:, 7], arrays[1][3] = 4 * arrays[1][2], 0, 0
    found = degeneracy(net, arrays)
    assert found.local is None and "not asked for" in str(found)
    assert found.layer_ranks == (64, 30, 10)  # without an elimination over the integers
    assert {(f.kind, f.layer, f.neurons) for f in found.faults} == {
        ("rank-deficient", 2, ()), ("zero outgoing", 1, (7,)), ("zero incoming", 2, (3,)), ("repeated", 2, (2, 5)),
    }  # fmt: skip
    assert Degeneracy.from_json(json.loads(json.dumps(found.to_json()))) == found
    small = Architecture((3, 2, 1), "t^2")  # type: ignore[arg-type]
    assert degeneracy(small, draw(small, rng), jacobian=False).local is None
