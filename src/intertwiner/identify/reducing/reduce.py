r"""The same function without the neurons that it does not need.

The network is rewritten on its graph until nothing changes: coordinates that no reader reads, constants, copies up to
the neuron gauge, opposite pairs of a nonlinearity with a bypass, and, on a stated box, what interval arithmetic
proves to be zero or linear. Everything rests on relations between weights; nothing is decided from samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import nn
from torch.utils import _pytree as pytree

from intertwiner.errors import CannotEmit, NonFiniteWeights
from intertwiner.identify.reducing.beside import entries
from intertwiner.identify.reducing.bypass import apply_opposite, find_opposite, move_linear
from intertwiner.identify.reducing.certificate import Certificate, certify
from intertwiner.identify.reducing.edit import tidied
from intertwiner.identify.reducing.even import cancels, even_reason, to_even
from intertwiner.identify.reducing.flips import FlipSet, flip_sets
from intertwiner.identify.reducing.interval import Box, Interval, input_box, signs
from intertwiner.identify.reducing.reduction import Reduction, Removed
from intertwiner.identify.reducing.redundancy import apply_merge, find_merge
from intertwiner.identify.reducing.rows import Reader
from intertwiner.network import Network, trace
from intertwiner.network import node as ir
from intertwiner.network.emit import to_module
from intertwiner.network.resize import Places, places
from intertwiner.numerics.tolerance import tolerance as tolerance_of

MOST_ROUNDS = 200
"""Every round takes a neuron out, so this many rounds without an end would be a mistake of the program."""


def reduce(
    model: nn.Module | Network,
    *,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    box: Box | None = None,
    even: bool = False,
    tolerance: float | None = None,
    samples: int = 256,
    seed: int = 0,
) -> Reduction:
    """The network without dead, constant, equal and opposite neurons.

    Args:
        model: A module in evaluation mode, or a traced network.
        example: An input of the module, as for ``trace``.
        kwargs: Keyword arguments of its call.
        outputs: Which of several outputs to keep.
        box: Bounds of the inputs, r for ``|x| <= r`` or a pair (low, high). ReLUs that are proved on it to be always
            zero or never are taken out as well; the result then holds on the box only.
        even: Bring ReLU and leaky ReLU layers to their even form ``c |z| + A u`` (theory 1), in which sign flips show.
        tolerance: Largest residual of a relation between weights, relative to the row, that counts as rounding; that of
            the network's type by default.
        samples: Random inputs of the certificate; 0 for none.
        seed: Of those inputs.

    Returns:
        The reduced network with what was taken out, what was left alone, and the certificate.

    Raises:
        BoxMismatch: The box does not fit the inputs.
        CannotEmit: An operator of the network cannot be written as torch code; the message names it.
        NonFiniteWeights, ModelInTrainingMode, CannotTrace: As for ``trace``.

    Cost:
        Per round and layer a sort of its rows; rounds are as many as redundancies hide behind each other.

    Example:
        ``relu(x) + relu(2 x)`` is one neuron, and a layer of ``relu(x) - relu(-x)`` is none but for the linear map:

        >>> layer = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> _ = layer[0].weight.data.copy_(torch.tensor([[1.0], [2.0]]))
        >>> _ = layer[0].bias.data.zero_()
        >>> found = reduce(layer, example=torch.zeros(2, 1))
        >>> [(r.place, r.neuron, r.kind, r.into) for r in found.removed]
        [('0', 1, 'duplicate', 0)]
        >>> found.certificate.relative < 1e-10
        True
    """
    network = model if isinstance(model, Network) else trace(model, example, kwargs=kwargs, outputs=outputs)
    bounds = None if box is None else input_box(network, box)
    limit = tolerance_of(network.dtype) if tolerance is None else tolerance
    _refuse_unlike(network)
    work = _Work(network, dict(network.graph), limit, box, even)
    work.run()
    module = to_module(network, work.graph)
    certificate = _certificate(network, work.graph, bounds, samples, seed)
    flips, unsearched = work.flips()
    return Reduction(
        name=network.name,
        module=module,
        certificate=certificate,
        removed=tuple(sorted(work.removed, key=lambda r: (work.order.index(r.place), r.neuron))),
        left_alone=work.left_alone,
        flips=flips,
        unsearched=unsearched,
        even=work.evened,
        neurons=(work.before, work.count()),
        weights=(entries(network.graph), entries(work.graph)),
        box="" if box is None else _box_words(box),
        tolerance=limit,
    )


def _certificate(
    network: Network, graph: dict[str, ir.Node], box: tuple[Interval, ...] | None, samples: int, seed: int
) -> Certificate:
    """Of the new weights as they were computed, and of the same rounded to the type of the network."""
    if not samples:
        return Certificate(0.0, 0.0, 0.0, "not measured", 0, 0, 0, seed)
    first, new = (to_module(network, g, dtype=torch.float64) for g in (network.graph, graph))
    look = partial(certify, first, specs=network.inputs, example=network.example, box=box, device=network.device,
                   seed=seed)  # fmt: skip
    if all(graph[name].op is node.op for name, node in network.graph.items() if name in graph):
        return look(new, samples=min(samples, 16), steps=0)  # the same records
    certificate = look(new, samples=samples)
    if network.dtype == torch.float64:
        return certificate
    return replace(certificate, rounded=look(to_module(network, graph).double(), samples=samples, steps=0).difference)


def _refuse_unlike(network: Network) -> None:
    """What is not finite, cannot be written, or is not what was traced once it is written, is refused at the door."""
    for node in network.nodes:
        for param in node.op.params:
            if np.isnan(param.array).any():
                raise NonFiniteWeights(
                    f"{param.name!r} at {node.tap or node.name} holds NaN, computed from weights that are finite.\n"
                    "  Usual cause: weight norm of a row of zeros. Nothing was reduced."
                )
    written = to_module(network)
    with torch.no_grad():
        found = pytree.tree_leaves(written(*network.example))
        expected = pytree.tree_leaves(network.module(*network.example))
    limit = tolerance_of(network.dtype)
    for name, a, b in zip(network.outputs, found, expected, strict=True):
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, a - b).abs().max()
        if not float(gap) <= limit * float(b.abs().nan_to_num(posinf=0.0).max()):
            raise CannotEmit(
                f"output {name!r} of the records differs by {float(gap):.2g} from the network, on the example.\n"
                "  Usual cause: a rule of register_rule that does not say what its operator does. Nothing was reduced."
            )


def even_form(
    model: nn.Module | Network, *, example: Any = None, tolerance: float | None = None, samples: int = 256
) -> Reduction:
    """``reduce(..., even=True)``: ReLU layers as absolute values beside linear maps, where sign flips show.

    Example:
        >>> layer = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
        >>> _ = layer[0].weight.data.copy_(torch.tensor([[3.0, 1.0], [-2.0, 2.0], [-1.0, -3.0]]))
        >>> _ = layer[2].weight.data.fill_(1.0)
        >>> found = even_form(layer, example=torch.zeros(2, 2))
        >>> found.even, sorted(found.module.state_dict())   # the linear parts cancel: no map beside the layer
        ({'0': ''}, ['0.weight', '2.weight'])
    """
    return reduce(model, example=example, even=True, tolerance=tolerance, samples=samples)


@dataclass
class _Work:
    """The graph as it shrinks; neurons keep the numbers that they had in the original."""

    network: Network
    graph: dict[str, ir.Node]
    tolerance: float
    box: Box | None
    even: bool
    removed: list[Removed] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)
    evened: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, ndarray] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    before: int = 0
    proofs: tuple[dict[str, Any], dict[str, Any]] | None = None

    def run(self) -> None:
        for name, axis in self._writers():
            self.numbers[name] = np.arange(self.graph[name].shape[axis])
            self.order.append(self._label(name))
        self.before = self.count()
        self._settle()
        while self._bypass() or self._even():
            self._settle()

    def count(self) -> int:
        """Neurons of all layers that can be reduced, each space counted once."""
        seen, total = set(), 0
        for found in self._spaces():
            if not seen & set(found.writers):
                total += found.dimension
            seen |= set(found.writers)
        return total

    def flips(self) -> tuple[tuple[FlipSet, ...], dict[str, int]]:
        found, unsearched = [], {}
        for space in self._spaces():
            sets, dimension = flip_sets(self.graph, space, self._reader(space).rows(), self.tolerance)
            place, numbers = self._label(space.seed[0]), self.numbers[space.seed[0]]
            found += [FlipSet(place, tuple(int(numbers[i]) for i in chosen), residual) for chosen, residual in sets]
            if dimension:
                unsearched[place] = dimension
        return tuple(found), unsearched

    def _writers(self) -> list[tuple[str, int]]:
        axes = {ir.Linear: -1, ir.Conv: 1, ir.Embedding: -1}
        out = []
        for name, node in self.graph.items():
            if type(node.op) in axes and node.tap:
                out.append((name, axes[type(node.op)] % len(node.shape)))
        return out

    def _spaces(self) -> list[Places]:
        """The spaces that can be cut, each from its first writer; why the others cannot is recorded."""
        out: list[Places] = []
        for name, axis in self._writers():
            size = self.graph[name].shape[axis]
            if any(name in other.writers and other.dimension == size for other in out):
                continue
            found = places(self.graph, name, axis)
            reason = found.blocked or self._shared(found)
            if reason:
                self.left_alone.setdefault(self._label(name), reason)
            else:
                out.append(found)
        return out

    def _shared(self, found: Places) -> str:
        """Cutting a weight that stands at two places would untie them."""
        uses: dict[str, set[str]] = {}
        for name, node in self.graph.items():
            for param in node.op.params:
                for source in param.sources if not param.computed else ():
                    uses.setdefault(source, set()).add(name)
        for name in {*found.writers, *(r for r, _ in found.readers), *found.owner}:
            for param in self.graph[name].op.params:
                if any(len(uses.get(s, ())) > 1 for s in param.sources):
                    return f"its weight {param.name!r} is used in several places"
        return ""

    def _label(self, name: str) -> str:
        node = self.network.graph[name]
        return (node.tap or name).removesuffix(":out")

    def _settle(self) -> None:
        """Unread, constant and equal coordinates, until there are none."""
        for _ in range(MOST_ROUNDS):
            merged = [self._merge(space.seed) for space in self._spaces()]
            if not any(merged):
                return

    def _merge(self, seed: tuple[str, int]) -> bool:
        space = places(self.graph, *seed) if seed[0] in self.graph else None
        if space is None or space.blocked:
            return False
        reader = self._reader(space)
        moved = move_linear(self.graph, space, reader.linear)
        if moved is not None:
            self._record(space, ["linear" if m else "" for m in moved[1]], -np.ones(space.dimension, dtype=int))
            self._cut(space, ~moved[1], moved[0])
            return True
        merge = find_merge(self.graph, reader)
        if merge is None:
            return False
        idle = np.zeros(space.dimension, dtype=bool)
        for mask in reader.idle.values():
            idle |= mask
        kinds = ["idle" if k == "constant" and idle[i] else k for i, k in enumerate(merge.kind)]
        into = np.where([k == "duplicate" for k in kinds], merge.into, -1)
        self._record(space, kinds, into, merge.residual)
        self._cut(space, merge.kept, apply_merge(self.graph, space, merge))
        return True

    def _bypass(self) -> bool:
        for space in self._spaces():
            found = find_opposite(self.graph, self._reader(space))
            if found is not None:
                kinds = ["" if k else "opposite" for k in found.kept]
                self._record(space, kinds, found.into, found.residual)
                self._cut(space, found.kept, apply_opposite(self.graph, space, found))
                return True
        return False

    def _even(self) -> bool:
        """One layer brought to its even form: all if asked for, else where that cancels the linear map beside it."""
        for space in self._spaces():
            place = self._label(space.seed[0])
            if self.evened.get(place) is not None:
                continue
            reason = even_reason(self.graph, space)
            if self.even and reason:
                self.evened[place] = reason
            elif not reason and (self.even or cancels(self.graph, space)):
                self.evened[place] = ""
                self.graph = tidied(to_even(self.graph, space))
                return True
        return False

    def _reader(self, space: Places) -> Reader:
        idle, linear = self._proofs()
        return Reader(self.graph, space, self.tolerance, self._masks(space, idle), self._masks(space, linear))

    def _proofs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.box is None:
            return {}, {}
        if self.proofs is None:
            self.proofs = signs(self.network, self.graph, self.box)
        return self.proofs

    def _masks(self, space: Places, proved: Mapping[str, Any]) -> dict[str, ndarray]:
        """Coordinates that are proved at all of their positions."""
        out = {}
        for name in proved.keys() & space.owner.keys():
            axis, owner = space.axis[name], space.owner[name]
            entries_ = np.moveaxis(proved[name].numpy(), axis, 0).reshape(len(owner), -1).all(axis=1)
            mask = np.ones(space.dimension, dtype=bool)
            np.logical_and.at(mask, owner[owner >= 0], entries_[owner >= 0])
            out[name] = mask & np.isin(np.arange(space.dimension), owner)
        return out

    def _record(self, space: Places, kinds: list[str], into: ndarray, residual: ndarray | None = None) -> None:
        """Neurons by the number that they had, at the layer that the space was found from."""
        name = space.seed[0]
        numbers, place = self.numbers[name], self._label(name)
        for i in (i for i, k in enumerate(kinds) if k):
            takes = int(numbers[into[i]]) if into[i] >= 0 else -1
            size = 0.0 if residual is None else float(residual[i])
            self.removed.append(Removed(place, int(numbers[i]), kinds[i], takes, size))

    def _cut(self, space: Places, kept: ndarray, graph: dict[str, ir.Node]) -> None:
        for name in space.writers:
            if name in self.numbers:
                owner = space.owner[name]
                self.numbers[name] = self.numbers[name][(owner < 0) | kept[owner]]
        self.graph, self.proofs = tidied(graph), None


def _box_words(box: Box) -> str:
    if isinstance(box, tuple):
        low, high = (np.asarray(b) for b in box)
        return f"[{low:g}, {high:g}]" if low.ndim == high.ndim == 0 else "[low, high] by entry"
    return f"|x| <= {float(box):g}"
