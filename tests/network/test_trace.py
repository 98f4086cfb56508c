"""What is refused at the door, and how taps are named and run."""

from __future__ import annotations

import collections

import pytest
import torch
import torch.nn.functional as F
from architectures import Apply, Block, settled
from torch import nn
from torch.export import export
from torch.utils._python_dispatch import TorchDispatchMode

from intertwiner.errors import (
    CannotTrace,
    DataMismatch,
    ModelInTrainingMode,
    ModelNotDeterministic,
    NonFiniteWeights,
    UnknownTap,
    WrongUse,
)
from intertwiner.network import Opaque, node, register_rule, trace
from intertwiner.network.rule import RULES


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), nn.BatchNorm1d(4)])
def test_training_mode_is_refused_by_name(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(3, 4), layer)
    with pytest.raises(ModelInTrainingMode, match=r"1.*\n.*model.eval\(\)"):
        trace(network, X)
    assert trace(network.eval(), X).unruled == ()


def test_training_mode_in_an_exported_program() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    program = export(network, (X,), strict=False)
    with pytest.raises((ModelInTrainingMode, ModelNotDeterministic)):
        trace(program)


@pytest.mark.parametrize(
    "forward",
    [
        lambda s, x: s.a(x) + torch.randn(x.shape[0], 2),
        lambda s, x: F.dropout(s.a(x), 0.5, training=True),
        lambda s, x: s.a(x + torch.rand_like(x)),
    ],
)
def test_randomness_is_refused(forward) -> None:
    with pytest.raises(ModelNotDeterministic, match="twice"):
        trace(Apply(forward, a=nn.Linear(3, 2)), X)


def test_a_random_operator_in_an_exported_program_is_named() -> None:
    program = export(Apply(lambda s, x: s.a(x) + torch.randn(2, 2), a=nn.Linear(3, 2)), (X,), strict=False)
    with pytest.raises(ModelNotDeterministic, match=r"aten\.randn"):
        trace(program)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return x * self.seen


def test_a_hidden_state_is_refused() -> None:
    with pytest.raises(ModelNotDeterministic):
        trace(Counter(), X)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nonfinite_weights_are_named(value: float) -> None:
    network = mlp()
    network[2].weight.data[0, 1] = value
    with pytest.raises(NonFiniteWeights, match=r"2\.weight.*1 of 8"):
        trace(network, X)


@pytest.mark.parametrize("example", [X.double(), X[:, :2], torch.zeros(2, 3, dtype=torch.long), X[:0]])
def test_an_example_that_does_not_fit_is_refused(example: torch.Tensor) -> None:
    with pytest.raises(DataMismatch):
        trace(mlp(), example)


def test_missing_examples_and_other_objects_are_refused() -> None:
    with pytest.raises(WrongUse, match="example"):
        trace(mlp())
    with pytest.raises(WrongUse, match="Module"):
        trace(lambda x: x, X)  # type: ignore[arg-type]


def test_control_flow_on_values_is_refused_with_its_cause() -> None:
    with pytest.raises(CannotTrace, match=r"cannot trace Apply.*\n.*control flow"):
        trace(Apply(lambda s, x: s.a(x) if x.sum() > 0 else x, a=nn.Linear(3, 3)), X)


def test_a_batch_that_does_not_fit_is_refused_with_the_cure() -> None:
    run = trace(mlp(), X).function()
    with pytest.raises(DataMismatch, match=r"float64.*float32.*\n.*\.to\("):
        run((X.double(),))
    with pytest.raises(DataMismatch, match=r"\(2, 2\).*\(B, 3\)"):
        run((X[:, :2],))
    with pytest.raises(DataMismatch, match="takes 1"):
        run((X, X))
    with pytest.raises(DataMismatch, match="empty"):
        run((X[:0],))
    with pytest.raises(DataMismatch, match=r"on meta"):
        run((X.to("meta"),))
    with pytest.raises(DataMismatch, match="tensor"):
        run(([1.0, 2.0, 3.0],))  # type: ignore[arg-type]


def test_one_sample_is_enough_and_any_batch_runs() -> None:
    network = trace(mlp(), X[:1])
    assert network.batch_size is None
    for size in (1, 2, 9):
        assert network(torch.zeros(size, 3))[0].shape == (size, 2)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("count", [1, 4, 6, 11])
def test_a_fixed_export_runs_any_number_of_samples(size: int, count: int) -> None:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    program = export(encoder, (torch.randn(size, 5, 8),), strict=False)
    network = trace(program)
    assert network.batch_size == size
    x = torch.randn(count, 5, 8)
    outputs, tapped = network.function(["linear1"])((x,))
    with torch.no_grad():
        torch.testing.assert_close(outputs[0], encoder(x), rtol=1e-5, atol=1e-5)
    assert tapped["linear1"].shape == (count, 5, 16)


def test_a_fixed_export_cuts_taps_whose_batch_lies_inside_an_axis() -> None:
    torch.manual_seed(0)
    module = Apply(lambda s, x: s.b(F.relu(s.a(x.transpose(0, 1).flatten(0, 1)))).view(5, 4, 2).transpose(0, 1),
                   a=nn.Linear(3, 6), b=nn.Linear(6, 2))  # fmt: skip
    network = trace(export(module, (torch.randn(4, 5, 3),), strict=False))
    assert network.batch_size == 4 and network.tap("a").batch_lead == 5
    x = torch.randn(6, 5, 3)
    outputs, tapped = network.function(["a"])((x,))
    torch.testing.assert_close(tapped["a"], module.a(x.transpose(0, 1).flatten(0, 1)).detach())
    torch.testing.assert_close(outputs[0], module.b(F.relu(module.a(x))).detach())


def test_a_module_that_writes_its_batch_size_down_is_fixed() -> None:
    network = trace(Apply(lambda s, x: s.a(x.reshape(3, 6)), a=nn.Linear(6, 2)), torch.randn(3, 2, 3))
    assert network.batch_size == 3
    x = torch.randn(7, 2, 3)
    assert torch.equal(network(x)[0][3:6], network(x[3:6])[0])


def test_modules_are_tapped_once_per_call_and_functions_by_their_producer() -> None:
    shared = nn.Linear(3, 3)
    module = Apply(lambda s, x: F.relu(s.a(F.tanh(s.a(x)) @ s.W)) + x, a=shared, W=nn.Parameter(torch.eye(3)))
    network = trace(module, X)
    assert network.taps == ("args_0", "a:out", "a:act", "W:out", "a:out#2", "a:act#2", "add:out")
    assert network.tap("a#2").name == network.tap("a:out#2").name
    assert network.tap("output").tap == "add:out"


def test_containers_and_residual_blocks_have_a_tap() -> None:
    torch.manual_seed(0)
    module = settled(nn.Sequential(Block(2), nn.Sequential(Block(2), nn.ReLU())))
    network = trace(module, torch.randn(2, 2, 5, 5))
    assert network.tap("1").name == network.tap("1.1").name
    assert {"0.conv1:out", "0.bn1:out", "0.relu:out", "0.conv2:out", "0:add"} <= set(network.taps)
    x = torch.randn(3, 2, 5, 5)
    seen = {}
    for name in ("0", "0.conv1", "0.bn1", "1.0.conv2", "1"):
        module.get_submodule(name).register_forward_hook(
            lambda m, args, out, name=name: seen.__setitem__(name, out.detach().clone())
        )
    _, tapped = network.function(["0", "1", "0.conv1", "1.0.conv2"])((x,))
    module(x)
    for name, value in tapped.items():
        torch.testing.assert_close(value, seen[name])


def test_a_hook_before_an_inplace_operator_sees_what_we_tap() -> None:
    """The value before ``relu_`` is the one that the convolution returned."""
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    _, tapped = trace(module, X).function(["0", "1"])((X,))
    torch.testing.assert_close(tapped["0"], module[0](X).detach())
    torch.testing.assert_close(tapped["1"], module[0](X).relu().detach())


def test_writing_through_a_view_is_opaque_and_still_runs() -> None:
    def forward(s, x):
        y = s.a(x)
        y[:, 0] = 0
        return s.b(y)

    module = Apply(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    network = trace(module, X)
    assert any("view" in reason for _, _, reason in network.unruled)
    outputs, tapped = network.function(["a"])((X,))
    torch.testing.assert_close(outputs[0], module(X).detach())
    torch.testing.assert_close(tapped["a"], module.a(X).detach())


def test_an_unknown_tap_lists_the_near_ones() -> None:
    network = trace(mlp(), X)
    with pytest.raises(UnknownTap, match=r"near it: .*:out"):
        network.tap("1:uot")
    module = nn.Sequential(*(nn.Linear(3, 3) for _ in range(12)))
    with pytest.raises(UnknownTap, match="near"):
        trace(module, X).tap("nowhere")


def test_prefixes_and_globs() -> None:
    network = trace(Apply(lambda s, x: s.second(F.relu(s.first(x))), first=nn.Linear(3, 3), second=nn.Linear(3, 2)), X)
    assert network.tap("sec").tap == "second:out"
    with pytest.raises(UnknownTap, match="not unique"):
        network.tap("fir")
    assert [n.tap for n in network.select_taps(["*:out"])] == ["first:out", "second:out"]
    with pytest.raises(UnknownTap, match="matches"):
        network.select_taps(["third*"])


def test_an_operator_without_a_rule_is_opaque_and_the_rest_goes_on() -> None:
    module = Apply(lambda s, x: s.b(torch.cumsum(s.a(x), 1)), a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    network = trace(module, X)
    ((tap, operator, reason),) = network.unruled
    assert (tap, operator) == ("cumsum:out", "aten.cumsum.default") and "register_rule" in reason
    assert isinstance(network.tap("cumsum").op, Opaque)
    assert [n.op.kind for n in network.nodes] == ["input", "linear", "opaque", "linear", "output"]
    torch.testing.assert_close(network(X)[0], module(X).detach())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_are_opaque_and_run(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = Apply(lambda s, x: s.b(s.a(x)[0]), a=kind(4, 5, batch_first=True), b=nn.Linear(5, 2))
    network = trace(module, torch.randn(2, 3, 4))
    assert network.unruled and network.batch_size is None
    x = torch.randn(7, 3, 4)
    torch.testing.assert_close(network(x)[0], module(x).detach())


def test_users_can_add_a_rule() -> None:
    @register_rule("aten.cumsum")
    def cumsum(call):
        size = call.value("self").shape[-1]
        matrix = torch.ones(size, size).tril().numpy()
        return call.emit(node.Linear(node.Param("running sum", matrix)), call.value("self"))

    try:
        network = trace(Apply(lambda s, x: torch.cumsum(s.a(x), 1), a=nn.Linear(3, 4)), X)
    finally:
        RULES.pop("aten.cumsum")
    assert network.unruled == () and network.nodes[-2].op.kind == "linear"


@pytest.mark.parametrize(
    "forward",
    [lambda s, x: s.a(x) - s.a(x).mean(0), lambda s, x: s.a(x.flip(0)), lambda s, x: F.softmax(s.a(x), 0)],
)
def test_what_mixes_the_samples_of_a_batch_is_opaque(forward) -> None:
    network = trace(Apply(forward, a=nn.Linear(3, 3)), X)
    assert any("samples of a batch" in reason for _, _, reason in network.unruled)


def test_outputs_are_named_and_chosen() -> None:
    module = Apply(lambda s, x: {"p": s.a(x), "v": (s.b(x), x)}, a=nn.Linear(3, 2), b=nn.Linear(3, 1))
    assert trace(module, X).outputs == ("p", "v.0", "v.1")
    chosen = trace(module, X, outputs=["v.0"])
    assert chosen.outputs == ("v.0",) and "a:out" not in chosen.taps
    torch.testing.assert_close(chosen(X)[0], module.b(X).detach())
    with pytest.raises(WrongUse, match=r"'q'.*p, v\.0"):
        trace(module, X, outputs=["q"])
    assert trace(mlp(), X).outputs == ("output",)


def test_keyword_arguments_and_other_arguments() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 2)

        def forward(self, x, power: int = 1, *, shift=None, unused=None):
            return self.a(x) * power + shift

    module = Model()
    shift = torch.randn(2, 2)
    network = trace(module, (X, 3), kwargs={"shift": shift})
    assert [s.name for s in network.inputs] == ["x", "shift"]
    torch.testing.assert_close(network(X, shift)[0], module(X, 3, shift=shift).detach())


def test_parameters_keep_their_names_and_places() -> None:
    module = Apply(lambda s, x: (x @ s.W[:, 1:]).relu() * s.g.view(1, -1), W=nn.Parameter(torch.randn(3, 5)),
                   g=nn.Parameter(torch.randn(4)))  # fmt: skip
    network = trace(module, X)
    weight = network.tap("W").op.weight
    assert weight.name == "W" and weight.is_rewritable and weight.shape == (4, 3)
    assert (module.W.detach().numpy().ravel()[weight.places] == weight.array).all()
    scale = network.nodes[-2].op.scale
    assert scale.name == "g" and (module.g.detach().numpy().ravel()[scale.places] == scale.array).all()
    normed = trace(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), X).nodes[1].op.weight
    assert normed.computed and not normed.is_rewritable and len(normed.sources) == 2


class Counted(TorchDispatchMode):
    """Counts the operators that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_tapping_costs_no_more_than_the_module() -> None:
    """The same graph with some values handed out: not one operator more than the module itself runs."""
    module = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(8, 8), nn.ReLU()))).eval()
    x = torch.randn(5, 8)
    run = trace(module, x).function(["0", "4"])
    counts = []
    for call in (lambda: module(x), lambda: run((x,))):
        with torch.no_grad(), Counted() as counted:
            call()
        counts.append(counted.counts)
    assert sum(counts[0].values()) >= 8
    assert counts[1] == counts[0]
