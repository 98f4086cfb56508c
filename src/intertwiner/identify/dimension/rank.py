r"""The rank of the parameter Jacobian modulo a prime, with the last linear map eliminated beforehand.

Where the outputs are ``W h(x) + b`` and W and b are used nowhere else, the Jacobian is ``[D | I (x) H]`` with one row
``[h(x), 1]`` per input, the same for every output. A basis S of the rows of H eliminates that part for each output
apart: ``rank = outputs rank(H) + rank{ D_(x,o) - h(x) H_S^{-1} D_(S,o) }``. What is left has the columns of the other
parameters only; it is filled by batches of inputs and stops when the bound is met or nothing grows any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.exact import Columns, directional_derivative, evaluate
from intertwiner.identify.dimension.inputs import Pool
from intertwiner.network import Identity, Linear, Network, Node
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng

ROWS = 512
"""Rows of the Jacobian that are made and eliminated at a time."""

MEMORY = 1 << 27
"""Numbers that the eliminated part of the last layer may hold; beyond it only some outputs give further rows."""

ENTRIES = 1 << 24
"""Numbers of all nodes together that a forward pass may hold at a time."""


@dataclass(frozen=True, eq=False)
class ExactRank:
    """A rank modulo a prime and where it stopped.

    Args:
        rank: A proved lower bound of the rank over the rationals.
        prime: The modulus.
        inputs: How many inputs gave rows.
        complete: Whether the bound was met, or no input of the pool has a row outside the row space (one chance in
            the prime that one was overlooked).
        growth: (inputs, rank) after every batch.
        null: Basis of the null space modulo the prime, one column per direction.
        free: The columns at which that basis is the identity.
    """

    rank: int
    prime: int
    inputs: int
    complete: bool
    growth: tuple[tuple[int, int], ...]
    null: Float[ndarray, "p k"]
    free: Int[ndarray, " k"]


@dataclass(frozen=True, eq=False)
class LastLayer:
    """The linear map at the end: its node, what it reads, and the columns of ``[W | b]``, one row per output."""

    node: Node
    reads: str
    columns: Int[ndarray, "o h"]

    @property
    def bias(self) -> bool:
        op = self.node.op
        return isinstance(op, Linear) and op.bias is not None


def last_layer(network: Network, columns: Columns) -> LastLayer | None:
    """The last linear map, where its parameters are used by it alone and its values are the only outputs."""
    ends = network.nodes[-1].inputs
    if len(ends) != 1:
        return None
    node = network.node(ends[0])
    while isinstance(node.op, Identity):
        node = network.node(node.inputs[0])
    op = node.op
    if not isinstance(op, Linear) or len(node.shape) != 2 or node.batch_axis != 0:
        return None
    own = [p for p in op.params if columns.places(p) is not None]
    if len(own) != len(op.params) or any(p.computed for p in own):
        return None
    places = [np.asarray(columns.places(p)).reshape(p.shape) for p in own]
    table = np.concatenate([p.reshape(op.weight.shape[0], -1) for p in places], axis=1)
    used = np.concatenate([p.ravel() for p in places])
    names = {p.sources[0] for p in own}
    elsewhere = any(names & set(p.sources) for n in network.nodes if n.name != node.name for p in n.op.params)
    if elsewhere or len(np.unique(used)) < len(used):
        return None
    return LastLayer(node, node.inputs[0], table)


class RankRun:
    """One elimination: the network, a pool of inputs and a prime."""

    def __init__(self, network: Network, columns: Columns, pool: Pool, prime: int) -> None:
        self.network, self.columns, self.pool, self.field = network, columns, pool, Modulus(prime)
        self.last = last_layer(network, columns)
        self.skip = frozenset(self.last.node.op.params) if self.last else frozenset()
        eliminated = self.last.columns.ravel() if self.last else np.zeros(0, dtype=np.int64)
        self.rest = np.setdiff1d(np.arange(columns.total), eliminated)
        self.outputs = sum(int(np.prod(network.node(n).sample_shape)) for n in network.nodes[-1].inputs)
        self.space = Echelon(len(self.rest), self.field)
        self.head_rank, self.head = 0, None
        self.chosen = np.arange(self.outputs)
        self.step = max(1, ENTRIES // sum(int(np.prod(n.sample_shape)) for n in network.nodes))
        self.random = rng(prime)
        self.basis = np.zeros(0, dtype=np.int64)

    @property
    def rank(self) -> int:
        return self.outputs * self.head_rank + self.space.rank if self.last else self.space.rank

    def rows(self, at: Int[ndarray, " b"]) -> Float[ndarray, "b o p"]:
        """Jacobian at some inputs, without the last layer."""
        inputs, choices = self.pool.take(at)
        found = evaluate(self.network, inputs, choices, self.field)
        full = found.jacobian(self.columns, outputs=self.chosen, skip=self.skip)
        return full[:, :, self.rest] if len(self.rest) < full.shape[2] else full

    def hidden(self, at: Int[ndarray, " b"]) -> Float[ndarray, "b h"]:
        """What the last layer reads, with the one of its bias."""
        if self.last is None:
            return np.zeros((len(at), 0))
        inputs, choices = self.pool.take(at)
        h = evaluate(self.network, inputs, choices, self.field).values[self.last.reads]
        return np.hstack([h, np.ones((len(h), 1))]) if self.last.bias else h

    def eliminate_last(self) -> None:
        """Find a basis of the rows of H and what it makes of the other columns."""
        if self.last is None:
            return
        everything = np.arange(len(self.pool))
        H = np.concatenate([self.hidden(everything[s : s + self.step]) for s in range(0, len(everything), self.step)])
        across = Echelon(len(H), self.field)
        for start in range(0, H.shape[1], ROWS):
            across.add(np.ascontiguousarray(H.T[start : start + ROWS]))
        self.basis = np.sort(across.pivots)
        self.head = Echelon(H.shape[1], self.field)
        for start in range(0, len(self.basis), ROWS):
            self.head.add(H[self.basis[start : start + ROWS]])
        self.head_rank = self.head.rank
        size = max(1, self.head_rank * len(self.rest))
        if self.outputs * size > MEMORY:  # the rank stays a lower bound, and the null space is that of these outputs
            self.chosen = np.sort(rng(0).choice(self.outputs, max(1, MEMORY // size), replace=False))
        inverse = self.field.invert(H[self.basis][:, self.head.pivots])
        self.H = H
        self.M = np.empty((len(self.chosen), self.head_rank, len(self.rest)))
        batch = max(1, ROWS // len(self.chosen))
        for start in range(0, len(self.basis), batch):
            part = self.rows(self.basis[start : start + batch])
            self.M[:, start : start + batch] = part.swapaxes(0, 1)
        for block in self.M:
            block[:] = self.field.matmul(inverse, block)

    def add(self, at: Int[ndarray, " b"]) -> None:
        """Take the rows of some inputs in."""
        rows = self.rows(at)
        if self.last is not None and self.head is not None:
            h = self.H[at][:, self.head.pivots]
            for o in range(len(self.chosen)):
                rows[:, o] -= self.field.matmul(h, self.M[o])
            rows = self.field.reduce(rows)
        self.space.add(rows.reshape(-1, len(self.rest)))

    def probe(self) -> Float[ndarray, " p"]:
        """A random null vector of the rows so far, over all columns."""
        inner = np.zeros((len(self.rest), 1))
        inner[self.space.free, 0] = self.random.integers(0, self.field.prime, len(self.space.free))
        inner = self.field.reduce(inner)
        if self.space.rank:
            inner[self.space.pivots] = -self.field.matmul(self.space.E, inner[self.space.free])
        out = np.zeros(self.columns.total)
        out[self.rest] = inner[:, 0]
        if self.last is not None and self.head is not None:
            for line, o in enumerate(self.chosen):
                out[self.last.columns[o][self.head.pivots]] = -self.field.matmul(self.M[line], inner)[:, 0]
        return out

    def productive(self, at: Int[ndarray, " b"], probe: Float[ndarray, " p"]) -> ndarray:
        """Which of some inputs have a row outside the row space, as a random null vector tells."""
        found = directional_derivative(self.network, self.columns, probe, self.pool.take(at), self.field)
        return np.asarray(found[:, self.chosen].any(axis=1))

    def next_inputs(self, left: Int[ndarray, " l"], count: int) -> tuple[ndarray, ndarray]:
        """The next inputs that are worth their rows, and those that are left after them."""
        probe, found, start = self.probe(), np.zeros(0, dtype=np.int64), 0
        while len(found) < count and start < len(left):
            at = left[start : start + max(count, min(self.step, 4 * count))]
            found = np.concatenate([found, at[self.productive(at, probe)]])
            start += len(at)
        # What was seen and brings nothing never will, because the row space only grows.
        return found[:count], np.concatenate([found[count:], left[start:]])

    def null_space(self) -> tuple[Float[ndarray, "p k"], Int[ndarray, " k"]]:
        """Null space over all columns: of the rest, completed by the last layer, and what that leaves free itself."""
        inner = self.space.null_space()
        if self.last is None or self.head is None:
            return inner, self.rest[self.space.free]
        outer = self.head.null_space()
        total = inner.shape[1] + self.outputs * outer.shape[1]
        null = np.zeros((self.columns.total, total))
        null[self.rest, : inner.shape[1]] = inner
        lines = {int(o): line for line, o in enumerate(self.chosen)}
        for o in range(self.outputs):
            cells = self.last.columns[o]
            if o in lines and inner.shape[1]:
                back = self.field.matmul(self.M[lines[o]], inner)
                null[cells[self.head.pivots], : inner.shape[1]] = -back
            start = inner.shape[1] + o * outer.shape[1]
            null[cells, start : start + outer.shape[1]] = outer
        free = [self.rest[self.space.free], *(self.last.columns[o][self.head.free] for o in range(self.outputs))]
        return null, np.concatenate(free)


def exact_rank(
    network: Network,
    columns: Columns,
    pool: Pool,
    prime: int,
    bound: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ExactRank:
    """The rank of the Jacobian modulo a prime, grown until it meets the bound or the pool has nothing to add.

    Args:
        network: A network with exact rules.
        columns: Its parameters.
        pool: Certified inputs.
        prime: A prime below 2^26.
        bound: Upper bound of the rank, where the growth may stop.
        progress: Called with (inputs, rank) after every batch.

    Returns:
        The rank and the null space.

    Cost: ``2/3 n^2 m`` multiply-adds twice for n columns beyond the last layer, and ``n^2 / 4`` numbers.
    """
    run = RankRun(network, columns, pool, prime)
    run.eliminate_last()
    growth = []
    left = np.setdiff1d(np.arange(len(pool)), run.basis, assume_unique=True)
    batch = max(1, ROWS // len(run.chosen))
    used = len(run.basis)
    while run.rank < bound and not run.space.full:
        at, left = run.next_inputs(left, batch)
        if not len(at):
            break
        run.add(at)
        used += len(at)
        growth.append((used, run.rank))
        if progress is not None:
            progress(used, run.rank)
    null, free = run.null_space()
    complete = run.rank >= bound or len(run.chosen) == run.outputs
    return ExactRank(run.rank, prime, used, complete, tuple(growth), null, free)
