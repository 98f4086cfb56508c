"""The bundled networks load, are small, are as good as they were when stored, and have the symmetry that they claim."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch

from intertwiner import bundled
from intertwiner.algebra import dihedral, symmetric
from intertwiner.bundled import composition, shapes, tictactoe
from intertwiner.errors import WrongUse

LIMIT = 2 * 1024**2
ACCURACY = {
    "tictactoe-tanh": 0.98,
    "tictactoe-relu": 0.98,
    "shapes-conv": 0.95,
    "s4-composition": 0.995,
    "asymmetric-relu": 0.9,
}
PLANTED = {"planted-tanh-d4": 1e-13, "planted-conv-d4": 1e-13, "planted-relu-s3": 1e-6}
NEARLY = {"tictactoe-tanh": 0.06, "tictactoe-relu": 0.06, "shapes-conv": 0.3, "s4-composition": 0.05}


def defect(net: bundled.Bundled) -> float:
    """Largest |f(gx) - g f(x)| / |f(x) - mean f| over the generators, in float64."""
    module, x = net.module.double(), net.data.double()
    with torch.no_grad():
        f = module(x)
        bound = net.symmetry.bind(tuple(x.shape[1:]), tuple(f.shape[1:]))
        spread = (f - f.mean(0)).norm()
        moved = [
            module(bound.act_on_input(g, (x,))[0]) - bound.act_on_output(g, (f,))[0]
            for g in net.symmetry.group.generators
        ]
    return max(float(difference.norm() / spread) for difference in moved)


def test_all_files_together_are_small() -> None:
    files = list((resources.files(bundled) / "weights").iterdir())
    assert {f.name for f in files} == {f"{name}.safetensors" for name in bundled.names()}
    assert sum(len(f.read_bytes()) for f in files) <= LIMIT


@pytest.mark.parametrize("name", bundled.names())
def test_it_loads_with_finite_weights_and_says_what_to_expect(name: str) -> None:
    net = bundled.load(name)
    assert not net.module.training
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in net.module.parameters())
    assert torch.isfinite(net.data).all()
    assert net.labels is None or len(net.labels) == len(net.data)
    assert "Expect: " in net.description
    assert sum(len(batch) for batch in net.batches(100)) == len(net.data)


@pytest.mark.parametrize("name", bundled.names())
def test_loading_twice_gives_the_same(name: str) -> None:
    first, second = bundled.load(name), bundled.load(name)
    assert torch.equal(first.data, second.data)
    with torch.no_grad():
        assert torch.equal(first.module(first.data[:64]), second.module(second.data[:64]))


@pytest.mark.parametrize("name", bundled.names())
def test_accuracy_is_what_it_was(name: str) -> None:
    net = bundled.load(name)
    if name in ACCURACY:
        accuracy = net.accuracy()
        assert accuracy is not None
        assert accuracy >= ACCURACY[name]
    else:
        assert net.accuracy() is None


@pytest.mark.parametrize("name", PLANTED)
def test_planted_networks_are_equivariant_to_rounding(name: str) -> None:
    assert defect(bundled.load(name)) <= PLANTED[name]


@pytest.mark.parametrize("name", PLANTED)
def test_a_moved_weight_is_seen(name: str) -> None:
    net = bundled.load(name)
    with torch.no_grad():
        first = next(net.module.parameters())
        first.view(-1)[0] += 0.1
    assert defect(net) > 1e-4


@pytest.mark.parametrize("name", NEARLY)
def test_trained_networks_are_nearly_equivariant(name: str) -> None:
    assert 1e-4 < defect(bundled.load(name)) <= NEARLY[name]


def test_the_asymmetric_network_is_far_from_invariant() -> None:
    assert defect(bundled.load("asymmetric-relu")) > 0.5


@pytest.mark.parametrize(
    ("name", "layers"),
    [("planted-tanh-d4", ("fc1", "fc2")), ("planted-conv-d4", ("conv1", "conv2")), ("planted-relu-s3", ("fc1", "fc2"))],
)
def test_planted_neurons_are_alive_and_pairwise_different(name: str, layers: tuple[str, ...]) -> None:
    module = bundled.load(name).module
    for layer in layers:
        here = module.get_submodule(layer)
        rows = torch.cat([here.weight.flatten(1), here.bias[:, None]], dim=1).double()  # type: ignore[union-attr]
        assert (rows.norm(dim=1) > 1e-3).all()
        rows = torch.nn.functional.normalize(rows)
        cosine = (rows @ rows.T).abs() - torch.eye(len(rows))
        assert cosine.max() < 1 - 1e-6


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WrongUse, match="tictactoe-tanh"):
        bundled.load("chess")


def test_tictactoe_has_the_known_numbers() -> None:
    boards, values = tictactoe.positions()
    assert len(boards) == 5478
    final = np.array([tictactoe.winner(tuple(b)) != 0 or 0 not in b for b in boards])
    assert final.sum() == 958  # 626 won by X, 316 by O, 16 drawn
    assert [int((values[final] == v).sum()) for v in (1, -1, 0)] == [626, 316, 16]


def test_tictactoe_values_are_invariant_under_d4() -> None:
    boards, values = tictactoe.positions()
    value = {tuple(b): v for b, v in zip(boards, values, strict=True)}
    cells = np.arange(9).reshape(3, 3)
    for turned in (np.rot90(cells).ravel(), cells[:, ::-1].ravel()):
        assert all(value[tuple(board[turned])] == v for board, v in zip(boards, values, strict=True))


def test_shapes_turn_into_shapes_of_their_class() -> None:
    """All eight turns of a drawing are what a turn by the library makes of it."""
    from intertwiner.bundled.shapes import _turned

    for name in shapes.NAMES:
        drawings = {_turned(name, turn).tobytes() + bytes(_turned(name, turn).shape) for turn in range(8)}
        for turn in range(8):
            further = np.rot90(_turned(name, turn)), _turned(name, turn)[:, ::-1]
            assert all(np.ascontiguousarray(d).tobytes() + bytes(d.shape) in drawings for d in further)


def test_products_are_those_of_the_group() -> None:
    group = symmetric(4)
    x, product = composition.pairs(group)
    first, second = x[:, :24].argmax(1), x[:, 24:].argmax(1)
    p = group.permutations
    assert p is not None
    assert all((p[product[i]] == p[first[i]][p[second[i]]]).all() for i in range(len(x)))


def test_symmetry_of_needs_no_weights() -> None:
    assert bundled.symmetry_of("shapes-conv").group == dihedral(4)
