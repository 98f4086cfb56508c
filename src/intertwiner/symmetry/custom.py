"""User callables as actions, with their matrix recovered by asking them where that can be done.

A linear map that only moves and flips entries shows itself on one vector of distinct numbers, whatever its size;
any other linear map on at most 4,096 entries is read off the basis vectors. What remains is opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from intertwiner.algebra import Group
from intertwiner.errors import IntertwinerError, NotAnAction, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import tolerance
from intertwiner.symmetry import matrices as mat
from intertwiner.symmetry.opaque import Action, OpaqueAction
from intertwiner.symmetry.spec import ActionSpec, one_per_generator
from intertwiner.symmetry.tensor_action import TensorAction

MAX_PROBED = 4096
"""Largest sample whose matrix is read off the basis vectors (128 MB)."""

MAX_CHECKED = 128
"""Largest group for which a callable of (g, tensor) is compared with its generators at every element."""

SEED = 20260101
"""Seed of the random tensors that actions are asked about."""

Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Custom(ActionSpec):
    """A function ``(g, tensor) -> tensor``, or one function per generator."""

    function: Callable[[int, torch.Tensor], torch.Tensor] | tuple[Map, ...] | Mapping[str, Map]
    spelling: str = "custom"

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        return tuple(probe(f, shape) for f in self._per_generator(group))

    def element(self, group: Group, g: int) -> Map | None:
        """The user's own map for any element, where the function takes elements."""
        return (lambda x: self.function(g, x)) if callable(self.function) else None  # type: ignore[operator]

    def _per_generator(self, group: Group) -> list[Map]:
        if callable(self.function):
            return [self.element(group, g) for g in group.generators]  # type: ignore[misc]
        if isinstance(self.function, Mapping):
            missing = [n for n in group.generator_names if n not in self.function]
            if missing:
                raise WrongUse(f"the custom action lacks the generator {missing[0]} of {group.name}")
            return [self.function[n] for n in group.generator_names]
        return list(one_per_generator(self.function, group, "custom"))  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        return self.spelling

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and self.function == other.function

    def __hash__(self) -> int:
        return hash(self.spelling)


def custom(function: object, *, spelling: str | None = None) -> Custom:
    """An action given as Python: ``function(g, tensor)`` with g the number of the element, or one per generator.

    The tensor has one leading batch axis; the function must treat samples alike and return the same shape. Linear
    maps become matrices (see the module), others stay opaque: measured, but not carried through weights.

    Args:
        function: A callable of (element number, tensor); or a sequence of callables of a tensor, one per generator;
            or a dictionary from generator names to them.
        spelling: How it is written on the command line, ``module:callable``.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> spec = custom([lambda x: -x.flip(-1)])
        >>> spec.on(cyclic(2), (3,))
        (TensorAction((3,), axis 0: Monomial(3: (0 2), signed)),)
    """
    if isinstance(function, Mapping):
        parts: object = dict(function)
        callables = list(function.values())
    elif callable(function):
        parts, callables = function, [function]
        spelling = spelling or f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', function)}"
    elif isinstance(function, Sequence):
        parts, callables = tuple(function), list(function)
    else:
        raise WrongUse(f"a custom action is a callable or one per generator, got {type(function).__name__}")
    if not all(callable(c) for c in callables):
        raise WrongUse("every entry of a custom action must be callable")
    return Custom(parts, spelling or "custom")  # type: ignore[arg-type]


def probe(function: Map, shape: tuple[int, ...]) -> Action:
    """The matrix of a map, where it is linear and small enough or only moves entries; otherwise an opaque action."""
    opaque = OpaqueAction(shape, function)
    size = int(np.prod(shape, dtype=np.int64))
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    moved = _ask(opaque, x)
    monomial = _moved_entries(x[0].reshape(-1).numpy(), moved[0].reshape(-1).numpy())
    if monomial is not None:
        action = TensorAction.from_flat(shape, monomial)
        return action if torch.equal(action.apply(x), moved) else opaque
    if size > MAX_PROBED or not _looks_linear(opaque, x, moved):
        return opaque
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    columns = torch.cat([_ask(opaque, part) for part in basis.split(256)])
    matrix = columns.reshape(size, size).T.numpy()
    action = TensorAction.from_flat(shape, mat.as_matrix(matrix))
    error = float((action.apply(x) - moved).abs().max() / moved.abs().max().clamp_min(1e-300))
    return action if error <= tolerance("float64") else opaque


def _ask(action: OpaqueAction, x: torch.Tensor) -> torch.Tensor:
    try:
        moved = action.apply(x)
    except IntertwinerError:
        raise
    except Exception as error:
        error.add_note(f"raised by the custom action on a float64 tensor of shape {tuple(x.shape)}")
        raise
    if moved.dtype != x.dtype:
        raise NotAnAction(f"the custom action turned a {x.dtype} tensor into {moved.dtype}; it must keep the dtype")
    return moved.detach().cpu()


def _moved_entries(x: np.ndarray, y: np.ndarray) -> Monomial | None:
    """The signed permutation that takes x, whose entries are distinct in size, to y."""
    before, after = np.argsort(np.abs(x)), np.argsort(np.abs(y))
    if not np.array_equal(np.abs(x[before]), np.abs(y[after])):
        return None
    index = np.empty(len(x), dtype=np.int64)
    index[before] = after
    return Monomial(index, np.where(y[index] == x, 1.0, -1.0))


def _looks_linear(action: OpaqueAction, x: torch.Tensor, moved: torch.Tensor) -> bool:
    both = _ask(action, (2 * x[0] - 3 * x[1])[None])[0]
    scale = float(moved.abs().max())
    return float((both - 2 * moved[0] + 3 * moved[1]).abs().max()) <= 10 * tolerance("float64") * scale
