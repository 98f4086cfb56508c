r"""Charges: by which power of the scale every number of a network grows along a gauge.

A one-parameter group of scalings gives every entry z of every value a charge q, ``z -> e^{t q} z``. Operators demand
equations between charges: a ReLU keeps them, ``t^r`` multiplies them by r, a product adds them, a softmax needs zero.
An entry of a weight then has the charge of what it writes less the charge of what it reads; biases that of what they
write. Every solution is a gauge, its generator is diagonal, and so every solution is a conservation law (``families``).

What is written down here while the rules (``charge_rules``) walk through the graph: variables, equations, which
variables a general linear map may mix (events, and marks where it may not), which charges are free only up to an
epsilon, who else sees them, and which parameters carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intertwiner.network import Network, Node, Param

ZERO = 0
"""The variable that is zero: charges of inputs and outputs."""

READ, BATCH_NORM, CENTRED, KEY = 1, 2, 4, 8
"""Who sees a constant that is added to a coordinate: anybody; or nobody, since a mean, or a softmax, takes it out."""

MOST_PAIRS = 50_000
"""Products of more different charges than this are given no gauge."""

Ids = Int[ndarray, "..."]
"""Variables, one per entry."""


@dataclass(frozen=True, eq=False)
class Use:
    """A trainable parameter where an operator uses it.

    Args:
        param: Its name in the state_dict.
        node: The operator.
        role: ``"weight"``, ``"bias"``, ``"scale"``, ``"shift"`` or ``"constant"``.
        shape: Shape of the array in the operator.
        start: Place of its first entry in the flat state entry.
        strides: Steps along its axes there.
        up: Charges that an entry gives, broadcast against the shape.
        down: Charges that it takes.
        centre: What is taken from the entries before they scale, one number per row; None for nothing.
    """

    param: str
    node: Node
    role: str
    shape: tuple[int, ...]
    start: int
    strides: tuple[int, ...]
    up: Ids
    down: Ids
    centre: ndarray | None = None


@dataclass(eq=False)
class Charges:
    """What the rules write down.

    Args:
        network: The network that they walk through.
        names: State_dict names of the parameters that training moves, each with the one name that it goes by.
        training: Whether batch norm and dropout are in training mode.
        loss: ``"cross_entropy"`` where the loss takes out the common shift of all outputs.
        count: Variables so far; 0 is ``ZERO``.
        equal: Pairs of variables that are equal.
        equations: ``(variables (m, k), coefficients (k,))``: m equations of the same form.
        derived: Variables that are to be expressed by others.
        monomial: Variables that no linear map may mix with others.
        events: Variables that are written or read together, ``(times, n)``.
        soft: Variables that are free up to an epsilon, with the reason.
        seen: Variables with who sees a constant added to them.
        same: Pairs of variables that stand for summands of one number: a constant added to either is one constant.
        centred: Rows of variables whose mean, or whose common shift, is taken out.
        outputs: Variables of the outputs.
        classes: Axis of the classes under cross entropy.
        uses: Trainable parameters.
        pinned: Parameters that are also used where nothing is known of their charges.
        lost: ``(place, reason)`` of everything that was given up.
    """

    network: Network
    names: Mapping[str, str]
    training: bool = True
    loss: str = ""
    count: int = 1
    equal: list[tuple[Ids, Ids]] = field(default_factory=list)
    equations: list[tuple[Ids, tuple[int, ...]]] = field(default_factory=list)
    derived: list[Ids] = field(default_factory=list)
    monomial: list[Ids] = field(default_factory=list)
    events: list[Ids] = field(default_factory=list)
    soft: list[tuple[Ids, str]] = field(default_factory=list)
    seen: list[tuple[Ids, int]] = field(default_factory=list)
    same: list[tuple[Ids, Ids]] = field(default_factory=list)
    centred: list[Ids] = field(default_factory=list)
    outputs: list[Ids] = field(default_factory=list)
    classes: int | None = None
    uses: list[Use] = field(default_factory=list)
    pinned: set[str] = field(default_factory=set)
    lost: list[tuple[str, str]] = field(default_factory=list)

    def new(self, *shape: int, derived: bool = False) -> Ids:
        """Fresh variables."""
        ids = self.count + np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        self.count += ids.size
        if derived:
            self.derived.append(ids.ravel())
        return ids

    def unite(self, a: Ids | int, b: Ids | int) -> None:
        """Equal charges, entry by entry."""
        first, second = np.broadcast_arrays(np.asarray(a), np.asarray(b))
        pairs = _distinct(first, second)
        self.equal.append((pairs[:, 0], pairs[:, 1]))

    def join(self, a: Ids, b: Ids) -> None:
        """Two summands: equal charges, and the same place for constants."""
        self.unite(a, b)
        self.same.append(self.equal[-1])

    def vanish(self, ids: Ids) -> None:
        """No charge."""
        self.equal.append((np.unique(ids), np.zeros(1, dtype=np.int64)))

    def demand(self, coefficients: Sequence[int], *terms: Ids) -> None:
        """``sum coefficient * charge = 0``, entry by entry."""
        rows = np.unique(np.stack([t.ravel() for t in np.broadcast_arrays(*terms)], axis=1), axis=0)
        self.equations.append((rows, tuple(coefficients)))

    def combine(self, a: Ids, b: Ids, sign: int = 1) -> Ids:
        """The charges ``a + b`` or ``a - b`` of a product or quotient, one variable per different pair."""
        if not a.any() and sign == 1:
            return np.broadcast_to(b, np.broadcast_shapes(a.shape, b.shape))
        if not b.any():
            return np.broadcast_to(a, np.broadcast_shapes(a.shape, b.shape))
        first, second = np.broadcast_arrays(a, b)
        pairs, inverse = np.unique(np.stack([first.ravel(), second.ravel()], axis=1), axis=0, return_inverse=True)
        if len(pairs) > MOST_PAIRS:
            self.vanish(a)
            self.vanish(b)
            return np.zeros(first.shape, dtype=np.int64)
        out = self.new(len(pairs), derived=True)
        self.demand((1, -1, -sign), out, pairs[:, 0], pairs[:, 1])
        return out[inverse.reshape(first.shape)]

    def along(self, ids: Ids, axis: int) -> Ids:
        """One variable per position of an axis: whatever differs elsewhere becomes equal."""
        rows = np.moveaxis(ids, axis, -1)
        first = rows[(0,) * (rows.ndim - 1)]
        if not _same_rows(rows, first):
            self.unite(rows, first)
        return first

    def flatten(self, ids: Ids, axes: Sequence[int]) -> Ids:
        """One variable along some axes, which stay with size one."""
        first = ids[tuple(slice(0, 1) if a in axes else slice(None) for a in range(ids.ndim))]
        if not np.array_equal(np.broadcast_to(first, ids.shape), ids):
            self.unite(ids, first)
        return first

    def mark(self, ids: Ids) -> None:
        """These coordinates may not be mixed."""
        self.monomial.append(np.unique(ids))

    def together(self, ids: Ids) -> None:
        """Rows of variables that are written or read together by a linear map."""
        self.events.append(np.unique(ids.reshape(-1, ids.shape[-1]), axis=0))

    def see(self, ids: Ids, who: int = READ) -> None:
        """Somebody reads these numbers."""
        self.seen.append((np.unique(ids), who))

    def centre(self, rows: Ids) -> None:
        """What is common to the numbers of a row is taken out of them."""
        self.see(rows, CENTRED)
        self.centred.append(np.unique(rows.reshape(-1, rows.shape[-1]), axis=0))

    def lose(self, node: Node, reason: str) -> None:
        self.lost.append((node.tap or node.name, reason))

    def pin(self, names: Iterable[str]) -> None:
        """These parameters may not move, wherever else they are used."""
        self.pinned |= {self.names[name] for name in names if name in self.names}

    def settle(self) -> None:
        """Take the pinned parameters out of the uses; what they write has the charge of what they read."""
        for use in (u for u in self.uses if u.param in self.pinned):
            self._rigid(np.ones(use.shape), use.up, use.down)
        self.uses = [u for u in self.uses if u.param not in self.pinned]

    def moves(self, param: Param) -> bool:
        """Whether training moves any of the numbers."""
        return any(name in self.names for name in param.sources)

    def hold(
        self,
        node: Node,
        param: Param | None,
        role: str,
        up: Ids,
        down: Ids | None = None,
        *,
        centre: ndarray | None = None,
    ) -> None:
        """A parameter with the charges that its entries give and take; what cannot move makes them equal."""
        if param is None:
            return
        down = np.zeros((1,) * up.ndim, dtype=np.int64) if down is None else down
        if not self.moves(param):
            return self._rigid(param.array, up, down)
        param = self._looked_up(param)
        reason, start, strides = _layout(param)
        if reason:
            self.lose(node, reason)
            self.pin(param.sources)
            return self._rigid(np.ones(param.shape), up, down)
        shape = param.shape
        for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
            if stride == 0 and size > 1:  # one entry repeated: it has one charge
                up, down = (self.flatten(np.broadcast_to(i, shape), [axis]) for i in (up, down))
                shape = (*shape[:axis], 1, *shape[axis + 1 :])
        self.uses.append(Use(self.names[param.sources[0]], node, role, shape, start, strides, up, down, centre))

    def _looked_up(self, param: Param) -> Param:
        """Rows that were looked up in a table before the graph was made, as rows of the table where they tell which."""
        tables = [name for name in param.sources if name in self.names]
        if not param.computed or not param.name.endswith("~embedding") or len(tables) != 1:
            return param
        table = self.network.state[tables[0]].detach().double().cpu().numpy()
        rows = param.array.reshape(-1, table.shape[1])
        known, row, times = np.unique(table, axis=0, return_index=True, return_counts=True)
        both = np.unique(np.concatenate([known, rows]), axis=0, return_inverse=True)
        at = both[1].ravel()[len(known) :]
        if len(both[0]) != len(known) or (times[at] != 1).any():
            return param
        places = row[at][:, None] * table.shape[1] + np.arange(table.shape[1])
        return Param(tables[0], param.array, (tables[0],), places.reshape(param.shape))

    def _rigid(self, array: ndarray, up: Ids, down: Ids) -> None:
        """Numbers that stay where they are: what they write has the charge of what they read."""
        shape = np.broadcast_shapes(up.shape, down.shape)
        kept = array != 0
        for axis, size in enumerate(shape):
            if size == 1 and array.shape[axis] > 1:
                kept = kept.any(axis=axis, keepdims=True)
        kept = np.broadcast_to(kept, shape)
        self.unite(np.broadcast_to(up, shape)[kept], np.broadcast_to(down, shape)[kept])
        self.mark(up)
        self.mark(down)


Rule = Callable[[Charges, Node, list[Ids]], Ids]


def _distinct(a: Ids, b: Ids) -> Int[ndarray, "pairs 2"]:
    """Different pairs; a million entries are sorted as single numbers."""
    a, b = a.ravel(), b.ravel()
    if not a.size:
        return np.zeros((0, 2), dtype=np.int64)
    span = int(max(a.max(), b.max())) + 1
    keys = np.unique(a * span + b)
    return np.stack([keys // span, keys % span], axis=1)


def _same_rows(rows: Ids, first: Ids) -> bool:
    return all(rows.strides[a] == 0 or rows.shape[a] == 1 for a in range(rows.ndim - 1)) or bool((rows == first).all())


def _layout(param: Param) -> tuple[str, int, tuple[int, ...]]:
    """Why a parameter cannot be moved entry by entry (or nothing), its first place and its strides."""
    if param.computed or len(param.sources) != 1:
        return f"{param.name} is computed from {', '.join(param.sources)}", 0, ()
    shape = param.shape
    if param.places is None:
        strides = tuple(int(np.prod(shape[a + 1 :])) for a in range(len(shape)))
        return "", 0, strides
    places = np.asarray(param.places).reshape(shape)
    start = int(places.ravel()[0]) if places.size else 0
    strides = tuple(int(np.take(places, 1, a).ravel()[0]) - start if s > 1 else 0 for a, s in enumerate(shape))
    expected = np.full(shape, start)
    for axis, stride in enumerate(strides):
        steps = stride * np.arange(shape[axis])
        expected = expected + steps.reshape((-1,) + (1,) * (len(shape) - axis - 1))
    if not np.array_equal(expected, places):
        return f"{param.name} is rearranged out of order", 0, ()
    return "", start, strides
