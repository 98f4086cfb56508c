"""A symmetry: a group that acts on the inputs and on the outputs of a network, checked before anything uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from intertwiner.algebra import Group, Subgroup, group_from_json, subgroup_generated
from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.symmetry.custom import MAX_CHECKED, Custom
from intertwiner.symmetry.elements import ElementActions
from intertwiner.symmetry.law import check_elements, check_group_law
from intertwiner.symmetry.opaque import Action
from intertwiner.symmetry.restricted import as_group, restrict, restriction, subgroup_of, unrestricted
from intertwiner.symmetry.spec import ActionSpec
from intertwiner.symmetry.specs import Invariant, Same, Several, as_spec
from intertwiner.symmetry.tensor_action import TensorAction

Shape = tuple[int, ...]
Shapes = Shape | Sequence[Shape] | Mapping[str, Shape]


@dataclass(frozen=True)
class Symmetry:
    """A group acting on inputs and outputs, whatever their shapes.

    Args:
        group: The group.
        on_input: How it acts on the input; a tuple or dictionary for several inputs.
        on_output: How it acts on the output; ``same()`` where it moves like the input.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> from intertwiner.symmetry import vector
        >>> odd = Symmetry(cyclic(2), on_input=vector(sign=[-1, -1]), on_output=vector(perm=[1, 0]))
        >>> bound = odd.bind((2,), (2,))
        >>> bound.act_on_input(1, (torch.tensor([[1.0, 2.0]]),))
        (tensor([[-1., -2.]]),)
    """

    group: Group
    on_input: Any
    on_output: Any

    def __post_init__(self) -> None:
        if not isinstance(self.group, Group):
            raise WrongUse(f"the first argument of Symmetry is a group, got {type(self.group).__name__}")
        object.__setattr__(self, "on_input", as_spec(self.on_input))
        object.__setattr__(self, "on_output", as_spec(self.on_output))

    def bind(self, input_shapes: Shapes, output_shapes: Shapes) -> BoundSymmetry:
        """The actions on tensors of these shapes, checked for the group law.

        Args:
            input_shapes: Sample shapes without the batch: one shape, a sequence of shapes, or a dictionary.
            output_shapes: The same for the outputs.

        Raises:
            ShapeMismatch: A shape does not fit its spec; the message names the tensor.
            NotAnAction: The maps do not satisfy the group law; the message names the relation and the error.
        """
        in_names, in_shapes = _named(input_shapes)
        out_names, out_shapes = _named(output_shapes)
        in_specs = _match(self.on_input, in_names, in_shapes, "input")
        out_specs = [
            _resolve_same(s, in_specs, in_names) for s in _match(self.on_output, out_names, out_shapes, "output")
        ]
        inputs = _actions(self.group, in_specs, in_shapes, _labels("input", in_names, in_shapes))
        outputs = _actions(self.group, out_specs, out_shapes, _labels("output", out_names, out_shapes))
        return BoundSymmetry(self, in_names, out_names, inputs, outputs)

    def element(self, g: int | str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Two functions on tensors: what g does to inputs and to outputs (of one tensor each)."""

        def act(side: str) -> Callable[[torch.Tensor], torch.Tensor]:
            def move(x: torch.Tensor) -> torch.Tensor:
                spec = self.on_input if side == "input" else _resolve_same(self.on_output, [self.on_input], None)
                return _actions(self.group, [spec], [tuple(x.shape[1:])], [side])[0][number(self.group, g)].apply(x)

            return move

        return act("input"), act("output")

    def to_json(self) -> dict[str, Any]:
        """Group and spellings; custom actions read back only if they are importable as ``module:callable``.

        Where the symmetry is restricted, those of the larger group, and the generators of the subgroup.
        """
        whole, generators = self._whole
        record = {"group": whole.group.to_json(), "input": str(whole.on_input), "output": str(whole.on_output)}
        return record if generators is None else {**record, "subgroup": list(generators) or [0]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Symmetry:
        whole = cls(group_from_json(record["group"]), record["input"], record["output"])
        return whole.restricted(record["subgroup"]) if "subgroup" in record else whole

    @property
    def _whole(self) -> tuple[Symmetry, tuple[int, ...] | None]:
        """The symmetry that this one was restricted from, with generators in its group; itself where it was not."""
        larger = restriction(self.on_input, self.on_output)
        if larger is None:
            return self, None
        return Symmetry(larger[0], unrestricted(self.on_input), unrestricted(self.on_output)), larger[1]

    def restricted(self, subgroup: Subgroup | str | Sequence[int | str]) -> Symmetry:
        """The same actions for the elements of a subgroup only.

        Args:
            subgroup: A subgroup, its generators by name or number (``"r2;s"`` or a list), or the name of a class of
                subgroups, such as ``"C4"``: its first member.

        Raises:
            GroupError: There is no such element or subgroup; the message lists some.
            GroupTooLarge: A subgroup of more than 5,000 elements.

        Example:
            >>> from intertwiner.algebra import dihedral
            >>> from intertwiner.symmetry import image, invariant
            >>> turns = Symmetry(dihedral(4), image(), invariant()).restricted("r")
            >>> turns.group.name, turns.group.order, str(turns.on_input)
            ('C4', 4, 'under:D4:r:image')
        """
        chosen = subgroup_of(self.group, subgroup)
        whole, generators = self._whole
        if generators is not None:  # named and stored as a subgroup of the group that it all began with
            inside = subgroup_generated(whole.group, generators).elements
            return whole.restricted([int(inside[g]) for g in chosen.generators or (0,)])
        return Symmetry(as_group(chosen), restrict(self.on_input, chosen), restrict(self.on_output, chosen))


@dataclass(frozen=True, eq=False, repr=False)
class BoundSymmetry:
    """A symmetry on tensors of known shapes. Made by ``Symmetry.bind``; every action has passed the group law.

    Args:
        symmetry: Where it comes from.
        input_names: Names of the inputs, if they were given with names.
        output_names: Names of the outputs.
        inputs: Actions of all elements on each input.
        outputs: Actions of all elements on each output.
    """

    symmetry: Symmetry
    input_names: tuple[str, ...] | None
    output_names: tuple[str, ...] | None
    inputs: tuple[ElementActions, ...] = field(repr=False)
    outputs: tuple[ElementActions, ...] = field(repr=False)

    @property
    def group(self) -> Group:
        return self.symmetry.group

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return tuple(e.shape for e in self.inputs)

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        return tuple(e.shape for e in self.outputs)

    @property
    def has_matrices(self) -> bool:
        """Whether every input and output action is linear with known matrices."""
        return all(isinstance(a, TensorAction) for e in (*self.inputs, *self.outputs) for a in e.generators)

    def input_action(self, g: int | str) -> tuple[Action, ...]:
        """The action of an element, by number or name, on each input."""
        return tuple(e[number(self.group, g)] for e in self.inputs)

    def output_action(self, g: int | str) -> tuple[Action, ...]:
        """The action of an element, by number or name, on each output, in the order of the shapes given to bind."""
        return tuple(e[number(self.group, g)] for e in self.outputs)

    def act_on_input(self, g: int | str, inputs: Any) -> Any:
        """Move the inputs: a tensor, a tuple or list, or a dictionary of tensors, returned in kind."""
        return _act(self.input_action(g), inputs, self.input_names, "input")

    def act_on_output(self, g: int | str, outputs: Any) -> Any:
        """Move the outputs: a tensor, a tuple or list, or a dictionary of tensors, returned in kind."""
        return _act(self.output_action(g), outputs, self.output_names, "output")

    def restricted(self, subgroup: Subgroup) -> BoundSymmetry:
        """The same actions for a subgroup, which satisfy the group law because these do."""
        symmetry = self.symmetry.restricted(subgroup)

        def fewer(all_of: tuple[ElementActions, ...]) -> tuple[ElementActions, ...]:
            return tuple(ElementActions(symmetry.group, [e[g] for g in subgroup.generators], e.shape) for e in all_of)

        if symmetry.group == self.group:
            return self
        return BoundSymmetry(symmetry, self.input_names, self.output_names, fewer(self.inputs), fewer(self.outputs))

    def __repr__(self) -> str:
        return (
            f"BoundSymmetry({self.group.name}: {self.symmetry.on_input} on {self.input_shapes} -> "
            f"{self.symmetry.on_output} on {self.output_shapes})"
        )


def number(group: Group, g: int | str) -> int:
    """An element from its number or name."""
    if isinstance(g, str):
        return group.element(g)
    if not 0 <= int(g) < group.order:
        raise WrongUse(f"{group.name} has elements 0..{group.order - 1}, not {g}")
    return int(g)


def _named(shapes: Shapes) -> tuple[tuple[str, ...] | None, list[Shape]]:
    if isinstance(shapes, Mapping):
        return tuple(shapes), [tuple(s) for s in shapes.values()]
    shapes = tuple(shapes)  # type: ignore[assignment]
    if all(isinstance(n, (int, np.integer)) for n in shapes):
        return None, [tuple(int(n) for n in shapes)]  # type: ignore[union-attr]
    return None, [tuple(s) for s in shapes]  # type: ignore[arg-type]


def _labels(side: str, names: tuple[str, ...] | None, shapes: Sequence[Shape]) -> list[str]:
    if names is not None:
        return [f"{side} '{n}'" for n in names]
    return [side] if len(shapes) == 1 else [f"{side} {i}" for i in range(len(shapes))]


def _match(spec: ActionSpec, names: tuple[str, ...] | None, shapes: Sequence[Shape], side: str) -> list[ActionSpec]:
    """One spec per tensor."""
    have = ", ".join(names) if names else f"{len(shapes)} without names"
    if not isinstance(spec, Several):
        if len(shapes) == 1 or isinstance(spec, Invariant):
            return [spec] * len(shapes)
        raise ShapeMismatch(
            f"one action was given for {len(shapes)} {side}s ({have}); give one each: a tuple or a dictionary"
        )
    if spec.names is not None and names is not None:
        missing = [n for n in names if n not in spec.names]
        extra = [n for n in spec.names if n not in names]
        if missing or extra:
            raise ShapeMismatch(
                f"the {side}s are {have}; actions were given for {', '.join(spec.names)}"
                + (f"; missing: {', '.join(missing)}" if missing else "")
            )
        return [spec.specs[spec.names.index(n)] for n in names]
    if len(spec.specs) != len(shapes):
        raise ShapeMismatch(f"{len(spec.specs)} actions were given for {len(shapes)} {side}s ({have})")
    return list(spec.specs)


def _resolve_same(spec: ActionSpec, inputs: Sequence[ActionSpec], names: tuple[str, ...] | None) -> ActionSpec:
    if not isinstance(spec, Same):
        return spec
    if spec.name is not None:
        if names is None or spec.name not in names:
            raise WrongUse(f"same('{spec.name}'): no input has this name")
        return inputs[names.index(spec.name)]
    if len(inputs) != 1:
        raise WrongUse(f"same() with {len(inputs)} inputs: say which, same('name')")
    return inputs[0]


def _actions(
    group: Group, specs: Iterable[ActionSpec], shapes: Iterable[Shape], labels: Iterable[str]
) -> tuple[ElementActions, ...]:
    out = []
    for spec, shape, label in zip(specs, shapes, labels, strict=True):
        try:
            generators = spec.on(group, shape)
        except ShapeMismatch as error:
            raise ShapeMismatch(f"{label}, sample shape {shape}, action '{spec}': {error}") from error
        maps = [a.apply for a in generators]
        check_group_law(group, maps, shape, label)
        if isinstance(spec, Custom) and group.order <= MAX_CHECKED and spec.element(group, 0) is not None:
            check_elements(group, maps, lambda g, s=spec: s.element(group, g), shape, label)  # type: ignore[misc,return-value]
        out.append(ElementActions(group, generators, shape))
    return tuple(out)


def _act(actions: Sequence[Action], tensors: Any, names: tuple[str, ...] | None, side: str) -> Any:
    if isinstance(tensors, torch.Tensor):
        _same_count(actions, 1, side)
        return _compact(actions[0], tensors)
    if isinstance(tensors, Mapping):
        keys = list(tensors) if names is None else list(names)
        if set(keys) != set(tensors):
            raise ShapeMismatch(f"expected the {side}s {', '.join(keys)}, got {', '.join(map(str, tensors))}")
        _same_count(actions, len(keys), side)
        moved = {k: _compact(a, tensors[k]) for k, a in zip(keys, actions, strict=True)}
        return {k: moved[k] for k in tensors}
    _same_count(actions, len(tensors), side)
    moved = [_compact(a, t) for a, t in zip(actions, tensors, strict=True)]
    return moved if isinstance(tensors, list) else tuple(moved)


def _compact(action: Action, x: torch.Tensor) -> torch.Tensor:
    """The moved tensor, contiguous if x is: a turned view would break a network that calls ``view`` on its input."""
    moved = action.apply(x)
    return moved.contiguous() if x.is_contiguous() else moved


def _same_count(actions: Sequence[Action], count: int, side: str) -> None:
    if len(actions) != count:
        raise ShapeMismatch(f"the symmetry acts on {len(actions)} {side} tensors, got {count}")
