"""A twin in isotypic blocks computes what the dense twin computes, in every form a module can take."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intertwiner.algebra import Group, GSet, cyclic, dihedral, quaternion
from intertwiner.errors import CannotRewrite, WrongUse
from intertwiner.network import node as ir
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite import fastest_twin as fastest
from intertwiner.rewrite.compile import compiled
from intertwiner.rewrite.executors import Run, compiled_alone
from intertwiner.rewrite.fastest_twin import block_choices, fastest_twin
from intertwiner.rewrite.isotypic import FrozenIsotypicLinear, IsotypicLinear, OneByOne
from intertwiner.rewrite.isotypic_transform import IsotypicTransform
from intertwiner.rewrite.tied import Action, tied, trivial
from intertwiner.rewrite.twin import TwinGraph

D4 = dihedral(4)
SAME = {torch.float32: 1e-5, torch.float64: 1e-12}


def planted(module: nn.Module, example: Tensor, actions: Mapping[str, Action], seed: int = 0) -> TwinGraph:
    """Random intertwiners and invariant biases in the places of the weights of a module."""
    network = trace(module.eval(), example)
    rng, ties, arrays = np.random.default_rng(seed), {}, {}
    for name, node in network.graph.items():
        op = node.op
        if isinstance(op, ir.Linear | ir.Conv):
            rows, columns = actions[name], actions[node.inputs[0]]
            size = int(np.prod(op.weight.shape[2:]))
            wide = tuple(Monomial.direct_sum([m] * size) for m in columns) if size > 1 else columns
            ties[op.weight.name] = tied(rows, wide)
            arrays[op.weight.name] = rng.standard_normal(op.weight.shape) / columns[0].dimension ** 0.5
            if op.bias is not None:
                ties[op.bias.name] = tied(rows, trivial(len(rows)))
                arrays[op.bias.name] = rng.standard_normal(op.bias.shape)
    return TwinGraph(network, network.graph, actions, ties).with_arrays(arrays)


def moved(group: Group, text: str, seed: int) -> Action:
    """Orbits of the given types, coordinates shuffled."""
    rho = GSet.parse(group, text).representation()
    move = Monomial(np.random.default_rng(seed).permutation(rho.dimension))
    return tuple(move @ m @ move.inverse() for m in rho.images if isinstance(m, Monomial))


def mlp(group: Group, texts: tuple[str, str, str, str], function: type[nn.Module] = nn.ReLU) -> TwinGraph:
    a, b, c, d = (moved(group, text, seed) for seed, text in enumerate(texts))
    widths = [x[0].dimension for x in (a, b, c, d)]
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(widths[0], widths[1]), function(), nn.Linear(widths[1], widths[2]), function(),
        nn.Linear(widths[2], widths[3]),
    )  # fmt: skip
    name = function.__name__.lower()
    actions = {"input_1": a, "flatten": a, "linear": b, name: b, "linear_1": c, f"{name}_1": c, "linear_2": d}
    return planted(module, torch.zeros(2, widths[0], 1), actions)


TEXTS = ("3 x D4/1 + 2 x D4/Cs", "4 x D4/1 + 1 x D4/C2v", "5 x D4/1 + 2 x D4/Cs", "2 x D4/D4 + 1 x D4/Cs")
ALL = ("linear", "linear_1", "linear_2")


def input_of(twin: TwinGraph, dtype: torch.dtype, batch: int = 5) -> Tensor:
    shape = twin.graph["input_1"].shape[1:]
    return torch.randn(batch, *shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("dtype", SAME)
@pytest.mark.parametrize("blocks", [(), ("linear_1",), ("linear", "linear_2"), ALL])
def test_any_choice_of_layers_is_the_same_function(dtype: torch.dtype, blocks: tuple[str, ...]) -> None:
    twin = mlp(D4, TEXTS)
    x = input_of(twin, dtype)
    module = compiled(twin, blocks, dtype)
    assert relative(module(x), twin.module(dtype)(x)) < SAME[dtype]
    assert sum(isinstance(m, FrozenIsotypicLinear) for m in module.modules()) == len(blocks)


@pytest.mark.parametrize("texts", [("4 x Q8/1",) * 4, ("3 x Q8/1 + 2 x Q8/C2", "2 x Q8/1", "1 x Q8/C4'", "1 x Q8/Q8")])
def test_other_groups_and_a_group_that_is_given(texts: tuple[str, str, str, str]) -> None:
    twin = mlp(quaternion(), texts)
    x = input_of(twin, torch.float64)
    expected = twin.module(torch.float64)(x)
    for group in (None, quaternion()):
        assert relative(compiled(twin, ALL, torch.float64, group=group)(x), expected) < 1e-12


def test_signed_neurons_with_an_odd_function() -> None:
    swap = cyclic(2)
    a, b = moved(swap, "6 x C2/1", 0), moved(swap, "3 x C2/1 + 2 x C2/C2", 1)
    signed = tuple(Monomial.direct_sum([m, Monomial.diagonal(-np.ones(3))]) for m in b)
    n, m = a[0].dimension, signed[0].dimension
    module = nn.Sequential(nn.Linear(n, m), nn.Tanh(), nn.Linear(m, n))
    twin = planted(module, torch.zeros(2, n), {"input_1": a, "linear": signed, "tanh": signed, "linear_1": a})
    x = input_of(twin, torch.float64)
    expected = twin.module(torch.float64)(x)
    assert relative(compiled(twin, ("linear", "linear_1"), torch.float64)(x), expected) < 1e-12


def test_names_stay_where_they_were_and_hidden_neurons_are_grouped() -> None:
    twin = mlp(D4, TEXTS)
    module = compiled(twin, ALL)
    state = module.state_dict()
    assert {k.split(".")[0] for k in state} == {"1", "3", "5"} and {"1.weight0", "1.bias", "5.weight0"} <= set(state)
    assert "1.weight" not in state
    first, second, last = (module.get_submodule(k) for k in ("1", "3", "5"))
    assert (first.into.gathered, first.out.gathered, second.into.gathered) == (True, False, False)
    assert (first.hands_on, second.hands_on, last.hands_on) == (True, True, False)
    mixed = compiled(twin, ("linear_1",)).state_dict()
    assert {"1.weight", "3.weight0", "5.weight"} <= set(mixed) and "3.weight" not in mixed
    # Fewer numbers are held than in the dense twin.
    assert sum(v.numel() for v in state.values()) < sum(v.numel() for v in twin.module().state_dict().values()) / 3


class Branches(nn.Module):
    """A residual, a value that two layers read, tokens, and one weight used twice."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.b(h) + torch.relu(self.c(h)) + self.b(x)


@pytest.mark.parametrize("tokens", [(), (3,)])
def test_branches_tokens_and_shared_weights(tokens: tuple[int, ...]) -> None:
    rho = moved(D4, "2 x D4/1 + 1 x D4/Cs", 0)
    n = rho[0].dimension
    module, example = Branches(n), torch.zeros(2, *tokens, n)
    twin = planted(module, example, dict.fromkeys(trace(module.eval(), example).graph, rho))
    names = [k for k, v in twin.graph.items() if isinstance(v.op, ir.Linear)]
    x = torch.randn(5, *tokens, n, dtype=torch.float64)
    expected = twin.module(torch.float64)(x)
    for blocks in (names, *[[name] for name in names], names[::2]):
        assert relative(compiled(twin, blocks, torch.float64)(x), expected) < 1e-12
    # A dense weight that two layers share stays one weight.
    state = compiled(twin, names[:1]).state_dict()
    assert "b.weight" in state and not any(key.startswith("b.weight_") for key in state)


class Fork(nn.Module):
    """Neurons that two layers read."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.b(h) + self.c(h)


def test_what_a_dense_layer_reads_as_well_is_not_handed_on_in_pieces() -> None:
    rho = moved(D4, "2 x D4/1 + 1 x D4/Cs", 0)
    n = rho[0].dimension
    module, example = Fork(n), torch.zeros(2, n)
    twin = planted(module, example, dict.fromkeys(trace(module.eval(), example).graph, rho))
    names = {p.name: k for k, v in twin.graph.items() for p in v.op.params}
    x = torch.randn(5, n, dtype=torch.float64)
    found = compiled(twin, (names["a.weight"], names["c.weight"]), torch.float64)
    assert not found.get_submodule("a").into.signed and not found.get_submodule("c").into.gathered
    with torch.no_grad():
        run = torch.compile(found, backend="aot_eager", fullgraph=True)
        assert relative(run(x), twin.module(torch.float64)(x)) < 1e-12
    torch._dynamo.reset()


def test_one_by_one_convolutions_between_others() -> None:
    a, b = moved(D4, "1 x D4/Cs", 0), moved(D4, "2 x D4/1", 1)
    module = nn.Sequential(
        nn.Conv2d(4, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 4, 1, bias=False)
    )
    actions = {"input_1": a, "conv2d": b, "relu": b, "conv2d_1": b, "relu_1": b, "conv2d_2": a}
    twin = planted(module, torch.zeros(2, 4, 6, 6), actions)
    x = input_of(twin, torch.float64)
    found = compiled(twin, ("conv2d_1", "conv2d_2"), torch.float64)
    assert relative(found(x), twin.module(torch.float64)(x)) < 1e-12
    assert isinstance(found.get_submodule("2"), OneByOne) and isinstance(found.get_submodule("4"), OneByOne)


def test_a_moved_weight_is_refused_by_name() -> None:
    twin = mlp(D4, TEXTS)
    op = twin.graph["linear_1"].op
    assert isinstance(op, ir.Linear)
    array = op.weight.array.copy()
    array[0, 1] += 1e-6
    node = replace(twin.graph["linear_1"], op=replace(op, weight=replace(op.weight, array=array)))
    broken = replace(twin, graph={**twin.graph, "linear_1": node})
    with pytest.raises(CannotRewrite, match=r"'linear_1' \(3.weight, .*does not commute") as caught:
        compiled(broken, ALL)
    assert "Nothing was rewritten." in str(caught.value)
    # The other layers are fine, and a bias counts as well.
    compiled(broken, ("linear", "linear_2"))
    first = twin.graph["linear"].op
    assert isinstance(first, ir.Linear) and first.bias is not None
    bias = replace(first.bias, array=first.bias.array + np.arange(len(first.bias.array)))
    crooked = replace(twin.graph["linear"], op=replace(first, bias=bias))
    with pytest.raises(CannotRewrite, match="'linear' "):
        compiled(replace(twin, graph={**twin.graph, "linear": crooked}), ("linear",))
    with pytest.raises(CannotRewrite, match="'relu' cannot run in isotypic blocks"):
        compiled(twin, ("relu",))


def test_blocks_are_equivariant_and_other_actions_are_not() -> None:
    twin = mlp(D4, ("4 x D4/1",) * 4)
    module, x = compiled(twin, ALL, torch.float64), input_of(twin, torch.float64)
    for g in range(2):
        into, out = twin.actions["input_1"][g], twin.actions["linear_2"][g]
        expected = module(x).detach().numpy()
        found = module(torch.from_numpy(into.apply(x.numpy(), axis=1))).detach().numpy()
        assert np.abs(found - out.apply(expected, axis=1)).max() < 1e-12
        # The group does something: it is not enough to be invariant.
        assert np.abs(found - expected).max() > 1e-3


@pytest.mark.parametrize("blocks", [("linear_1",), ALL])
def test_copies_exports_and_compiled_forms_agree(blocks: tuple[str, ...]) -> None:
    twin = mlp(D4, TEXTS)
    module, x = compiled(twin, blocks), input_of(twin, torch.float32)
    expected = twin.module()(x)
    twice = copy.deepcopy(module)
    other = compiled(twin.with_arrays({"3.weight": np.zeros(twin.graph["linear_1"].op.params[0].shape)}), blocks)
    other.load_state_dict(module.state_dict())
    exported = torch.export.export(module, (x,)).module()
    with torch.no_grad():
        forms = {
            "copy": twice(x),
            "state dict": other(x),
            "export": exported(x),
            "compile": torch.compile(module, backend="aot_eager", fullgraph=True)(x),
            "new trace": trace(module, x)(x)[0],
        }
    assert all(relative(y, expected) < 1e-5 for y in forms.values())


@pytest.mark.slow
def test_inductor_agrees_and_hands_columns_over() -> None:
    twin = mlp(D4, TEXTS)
    module = compiled(twin, ALL, torch.float64)
    for batch in (5, 64):
        x = input_of(twin, torch.float64, batch)
        with torch.no_grad():
            assert relative(compiled_alone(module)(x), twin.module(torch.float64)(x)) < 1e-12


def test_onnxruntime_agrees(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    twin = mlp(D4, TEXTS)
    module, x = compiled(twin, ALL), input_of(twin, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    program.save(tmp_path / "twin.onnx")
    session = runtime.InferenceSession(tmp_path / "twin.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert relative(torch.from_numpy(found), twin.module()(x)) < 1e-5


class Clock:
    """Time that only counted calls move: the outcome does not depend on the machine."""

    def __init__(self, cost: Mapping[bool, float]) -> None:
        self.now, self.cost = 0.0, cost

    def __call__(self) -> float:
        return self.now

    def watch(self, module: nn.Module, *_: object) -> None:
        self.now += self.cost[any(isinstance(m, FrozenIsotypicLinear) for m in module.modules())]


@pytest.mark.parametrize(
    ("blocks", "dense", "winner"), [(1.0, 3.0, "blocks"), (3.0, 1.0, "dense"), (1.0, 1.0, "dense")]
)
def test_the_faster_network_is_chosen_and_dense_wins_a_tie(
    blocks: float, dense: float, winner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock({True: blocks, False: dense})

    def watched(twin: TwinGraph, names: Collection[str], *rest: object, **more: object) -> nn.Module:
        module = compiled(twin, names, *rest, **more)  # type: ignore[arg-type]
        module.register_forward_hook(clock.watch)
        return module

    twin = mlp(D4, ("8 x D4/1",) * 4)
    plain = TwinGraph.module

    def watched_dense(twin: TwinGraph, dtype: torch.dtype | None = None, **more: Any) -> nn.Module:
        module = plain(twin, dtype, **more)
        if not more:  # not the one that layers in blocks are put into
            module.register_forward_hook(clock.watch)
        return module

    monkeypatch.setattr(fastest, "compiled", watched)
    monkeypatch.setattr(TwinGraph, "module", watched_dense)
    found = fastest_twin(twin, input_of(twin, torch.float32), rounds=5, compile=False, clock=clock)
    assert set(found.executors) == set(ALL) and set(found.executors.values()) == {winner}
    assert found.ratio == dense / blocks and found.difference < 1e-5
    assert set(found.blocks) == (set(ALL) if winner == "blocks" else set())
    # The record makes the module again, and the choice can be measured anew.
    x = input_of(twin, torch.float32)
    assert relative(compiled(twin, found.blocks)(x), found.module(x)) < 1e-6
    again = fastest_twin(twin, x, choices={"the same": ALL}, rounds=5, compile=False, clock=clock)
    assert again.executors == found.executors and set(again.seconds) == {"dense", "the same"}
    assert f"linear: {winner}" in str(found) and "not compiled, 5 rounds" in str(found)


def test_choices_are_by_what_they_save() -> None:
    twin = mlp(D4, ("3 x D4/1", "16 x D4/1", "16 x D4/1", "1 x D4/D4"))
    found = block_choices(twin)
    assert set(found["blocks"]) == {"linear", "linear_1"}
    assert found["largest layer in blocks"] == ("linear_1",)
    # The closest layer saves nothing: one output reads one sum per orbit.
    assert "linear_2" not in found["blocks"]


def test_a_group_too_large_stays_dense() -> None:
    cycles = (Monomial.direct_sum([Monomial(np.roll(np.arange(p), 1)) for p in (71, 73)]),)
    n = cycles[0].dimension
    twin = planted(nn.Sequential(nn.Linear(n, n)), torch.zeros(2, n), {"input_1": cycles, "linear": cycles})
    found = fastest_twin(twin, torch.randn(3, n), rounds=5, compile=False)
    assert found.executors == {"linear": "dense"} and "more than 5000 elements" in found.skipped["linear"]
    with pytest.raises(WrongUse, match="4 rounds"):
        fastest_twin(twin, torch.randn(3, n), rounds=4)
    with pytest.raises(WrongUse, match="'dense' is measured anyway"):
        fastest_twin(twin, torch.randn(3, n), choices={"dense": ()})


def test_a_compiler_that_fails_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module) -> Run:
        def run(x: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler\nmore")

        return run

    monkeypatch.setattr(fastest, "compiled_alone", broken)
    twin = mlp(D4, TEXTS)
    found = fastest_twin(twin, input_of(twin, torch.float32), rounds=5)
    assert found.skipped["torch.compile"] == "it failed on 'dense': no C++ compiler" and not found.is_compiled


@pytest.mark.parametrize("dtype", SAME)
@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("3 x D4/1 + 2 x D4/Cs", "2 x D4/1 + 1 x D4/C4"),
        ("2 x D4/D4", "3 x D4/1"),
        # No irrep in common, where signs act: zero neurons, of the right shape.
        ("1 x D4/C4-C2", "2 x D4/D4"),
        ("2 x D4/C4-C2 + 1 x D4/1", "1 x D4/C4-C2 + 1 x D4/Cs"),
    ],
)
def test_turned_pieces_compute_the_same(
    read: str, written: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rhos = [GSet.parse(D4, text).representation() for text in (read, written)]
    layer = IsotypicLinear(rhos[0], rhos[1], dtype=dtype, seed=2)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x = torch.randn(6, layer.in_features, dtype=dtype, generator=torch.Generator().manual_seed(1))
    expected = layer(x)
    monkeypatch.setattr(IsotypicTransform, "_compiling", lambda self: True)
    for turned in (False, True):
        layer.turned = turned
        assert torch.allclose(layer(x), expected, rtol=0, atol=10 * SAME[dtype])
