"""Symmetrised moments are those of the data set moved by every element, window by window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graph_nets import corners, double
from torch import Tensor, nn

from intertwiner.algebra import dihedral
from intertwiner.errors import NonFiniteData
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.moments import Moments
from intertwiner.rewrite.survey import column_moves
from intertwiner.rewrite.window_moments import Seen, drawn_positions, window_moments
from intertwiner.symmetry import BoundSymmetry, Symmetry, image, vector

D4, SIDE, SEED = dihedral(4), 4, 7
TURNED = [[[0, -1], [1, 0]], [[-1, 0], [0, 1]]]
"""How a field of arrows turns with the picture."""
CORNERS = corners(D4)
OUTPUTS = {
    "permuted": vector(perm=CORNERS),
    "signed": vector(perm=CORNERS, sign=[[-1] * 4, [1] * 4]),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A network on arrows, its task, and data."""

    net: nn.Sequential
    task: GraphTask
    data: Tensor

    @property
    def bound(self) -> BoundSymmetry:
        return self.task.symmetry

    def moved(self, value: Tensor, g: int) -> Tensor:
        """Channels kept, positions moved."""
        shape = tuple(value.shape[1:])
        return Symmetry(D4, image(D4), image(D4)).bind(shape, shape).act_on_input(g, (value,))[0]

    def lifted(self, upto: int, x: Tensor) -> Tensor:
        """Channel ``i * 8 + g`` holds ``g . h_i(g^-1 x)``."""
        parts = []
        with torch.no_grad():
            for g in range(8):
                value = self.net[:upto](self.bound.act_on_input(int(D4.inverse(g)), (x,))[0])
                parts.append(self.moved(value, g))
        return torch.stack(parts, 2).flatten(1, 2)

    def average(self, x: Tensor) -> Tensor:
        total = torch.zeros(())
        with torch.no_grad():
            for g in range(8):
                answer = self.net(self.bound.act_on_input(int(D4.inverse(g)), (x,))[0])
                total = total + self.bound.act_on_output(g, (answer,))[0] / 8
        return total


def case(output: str = "permuted") -> Case:
    net = nn.Sequential(
        nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(3 * SIDE**2, 4),
    )  # fmt: skip
    double(net)
    data = torch.randn(5, 2, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    symmetry = Symmetry(D4, image(D4, channels=TURNED), OUTPUTS[output])
    bound = symmetry.bind((2, SIDE, SIDE), (4,))
    return Case(net, GraphTask(trace(net, data[:2]), bound, lambda: iter([(data,)])), data)


def grid_moves() -> list[Monomial]:
    """Where every element moves the positions of a picture."""
    generators = [a.matrix_on((1, 2)) for a in image(D4).on(D4, (1, SIDE, SIDE))]  # type: ignore[union-attr]
    return D4.extend(generators, lambda a, b: a @ b, Monomial.identity(SIDE**2))  # type: ignore[arg-type]


def by_hand(c: Case, columns: Callable[[Tensor], Tensor], targets: Callable[[Tensor], Tensor], group: range) -> Moments:
    """Moments over kx for some k: the window at p of x has become the window at kp of kx."""
    chosen = drawn_positions(np.random.default_rng(SEED), len(c.data), columns(c.data).shape[-1], each=8)
    if columns(c.data).shape[-1] == 1:
        chosen = np.unique(chosen, axis=0)
    rows, moves, us, ts = chosen[:, 0], grid_moves(), [], []
    for k in group:
        x = c.bound.act_on_input(k, (c.data,))[0]
        u, t = columns(x).numpy(), targets(x).numpy()
        at = moves[k].index[chosen[:, 1]] if u.shape[-1] > 1 else chosen[:, 1]
        us.append(np.column_stack([u[rows, :, at], np.ones(len(rows))]))
        ts.append(t[rows, :, at])
    u, t = np.concatenate(us), np.concatenate(ts)
    return Moments(u.T @ u / len(u), t.T @ u / len(u), (t**2).mean(0), len(rows))


def same(a: Moments, b: Moments) -> bool:
    pairs = ((a.square, b.square), (a.cross, b.cross), (a.target, b.target))
    return a.count == b.count and all(np.allclose(x, y, rtol=0, atol=1e-12) for x, y in pairs)


def offered(c: Case, place: int) -> Moments:
    """Of all channels of the lift, as a survey takes them."""
    r = c.task.readers[place]
    shape = (SIDE, SIDE)
    dimension = c.task.network.node(r.source).shape[1]
    seen = Seen(lambda _, values: values[r.source], shape, column_moves(c.task, r, dimension))
    lifted, given = c.task.lifted([r.source, r.node.name]), c.task.given_elements(r)
    return window_moments(c.task.batches, lifted, r, seen, given=given, rows=1, seed=SEED)


def unfolded(value: Tensor) -> Tensor:
    return F.unfold(value, 3, padding=1)


def test_lifted_values_are_those_of_moved_inputs_moved_back() -> None:
    c = case()
    names = [r.node.name for r in c.task.readers[:2]]
    found = c.task.lifted(names)(c.data)
    for name, upto in zip(names, (1, 3), strict=True):
        assert torch.allclose(found[name], c.lifted(upto, c.data).flatten(2), rtol=0, atol=1e-13)
        assert not torch.allclose(found[name][:, 1], found[name][:, 0], atol=1e-3)


def test_a_convolution_that_reads_hidden_channels() -> None:
    c = case()

    def columns(x: Tensor) -> Tensor:
        return unfolded(c.lifted(2, x))

    def targets(x: Tensor) -> Tensor:
        return _first_of_orbit(c.lifted(3, x).flatten(2))

    found = offered(c, 1)
    wanted = by_hand(c, columns, targets, range(8))
    # Targets are the original's channels, seen from kx: its moved copies are columns of the lift there.
    assert same(found, wanted)
    assert not same(found, by_hand(c, columns, targets, range(1)))


def _first_of_orbit(lifted: Tensor) -> Tensor:
    return lifted.reshape(len(lifted), -1, 8, lifted.shape[-1])[:, :, 0]


@pytest.mark.parametrize("output", list(OUTPUTS))
def test_a_linear_map_behind_flattening_that_writes_the_output(output: str) -> None:
    c = case(output)

    def columns(x: Tensor) -> Tensor:
        return c.lifted(4, x).flatten(1)[..., None]

    found = offered(c, 2)
    assert same(found, by_hand(c, columns, lambda x: c.average(x)[..., None], range(8)))
    assert not same(found, by_hand(c, columns, lambda x: c.average(x)[..., None], range(1)))
    assert not same(found, by_hand(c, columns, lambda x: c.net(x).detach()[..., None], range(8)))


def test_columns_that_change_sign() -> None:
    """The first convolution reads arrows: its columns are permuted with signs."""
    c = case()
    r, bound = c.task.readers[0], c.bound
    arrows = [bound.input_action(g)[0].matrix_on((0,)) for g in bound.group.generators]  # type: ignore[union-attr]
    kernel = c.task.generators_on_places[r.node.name]
    elements = c.task.elements([a.kron(k) for a, k in zip(arrows, kernel, strict=True)])  # type: ignore[union-attr]
    assert any(not m.is_permutation for m in elements)
    lifted = c.task.lifted([r.node.name])

    def moments(moves: list[Monomial]) -> Moments:
        seen = Seen(lambda inputs, _: inputs[0].flatten(2), (SIDE, SIDE), moves)
        return window_moments(c.task.batches, lifted, r, seen, given=None, rows=1, seed=SEED)

    wanted = by_hand(c, unfolded, lambda x: _first_of_orbit(c.lifted(1, x).flatten(2)), range(8))
    assert same(moments(elements), wanted)
    assert not same(moments([Monomial(m.index) for m in elements]), wanted)


def test_enough_windows_are_drawn_and_no_more_and_nothing_infinite_is_averaged() -> None:
    c = case()
    half = GraphTask(c.task.network, c.bound, lambda: iter([(c.data[:3],), (c.data[3:],)]))
    r = half.readers[1]
    seen = Seen(lambda _, values: values[r.source], (SIDE, SIDE), column_moves(half, r, 2))
    lifted = half.lifted([r.source, r.node.name])
    counts = [
        window_moments(half.batches, lifted, r, seen, given=None, rows=rows, seed=SEED).count for rows in (24, 25)
    ]  # fmt: skip
    assert counts == [24, 40]
    bad = c.data.clone()
    bad[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteData, match="no moments were taken"):
        window_moments(lambda: iter([(bad,)]), lifted, r, seen, given=None, rows=1, seed=SEED)
