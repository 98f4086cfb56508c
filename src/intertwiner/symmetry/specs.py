"""Actions on vectors, sets of rows and tokens, one-hot tuples, several tensors at once, and user callables.

Every function returns an ``ActionSpec``; the command line spells it as ``str(spec)`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intertwiner.algebra import Group
from intertwiner.errors import ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import matrices as mat
from intertwiner.symmetry.matrices import Matrix
from intertwiner.symmetry.opaque import Action
from intertwiner.symmetry.spec import (
    ActionSpec,
    from_representation,
    matrix_text,
    one_per_generator,
    read_matrices,
    require_same_group,
)
from intertwiner.symmetry.tensor_action import TensorAction


@dataclass(frozen=True, eq=False, repr=False)
class Invariant(ActionSpec):
    """No action: the tensor stays as it is."""

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        return tuple(TensorAction.identity(shape) for _ in group.generators)

    @property
    def text(self) -> str:
        return "invariant"


@dataclass(frozen=True, eq=False, repr=False)
class Same(ActionSpec):
    """The action of an input, on a tensor of possibly another size; resolved by ``Symmetry``."""

    name: str | None = None

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        raise WrongUse("same() stands for the action on the input and makes sense as on_output of a Symmetry only")

    @property
    def text(self) -> str:
        return "same" if self.name is None else f"same:{self.name}"


@dataclass(frozen=True, eq=False, repr=False)
class Vector(ActionSpec):
    """Matrices on the last axis."""

    images: tuple[Matrix, ...] | None
    group: Group | None = None

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        if not shape:
            raise ShapeMismatch("a vector action needs a feature axis; this tensor has one number per sample")
        require_same_group(self.group, group)
        images = self.images if self.images is not None else natural_images(group, shape[-1])
        images = one_per_generator(images, group, "vector")
        for m in images:
            if mat.dimension(m) != shape[-1]:
                raise ShapeMismatch(
                    f"the vector action has dimension {mat.dimension(m)}, the last axis of {shape} has {shape[-1]}"
                )
        return tuple(TensorAction.of(shape, {(-1,): m}) for m in images)

    @property
    def text(self) -> str:
        return "vector" if self.images is None else "vector:" + matrix_text(self.images)


@dataclass(frozen=True, eq=False, repr=False)
class Tokens(ActionSpec):
    """Permutations of one sample axis, the first by default: tokens of a sequence, rows of a set."""

    images: tuple[Matrix, ...] | None
    features: ActionSpec | None
    word: str

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        if not shape:
            raise ShapeMismatch(f"{self.word} need an axis to permute; this tensor has one number per sample")
        images = self.images if self.images is not None else natural_images(group, shape[0])
        images = one_per_generator(images, group, self.word)
        for m in images:
            if mat.dimension(m) != shape[0]:
                raise ShapeMismatch(
                    f"{self.word} are permuted by permutations of {mat.dimension(m)} points, "
                    f"the tensor of shape {shape} has {shape[0]} {self.word}"
                )
        moved = tuple(TensorAction.of(shape, {(0,): m}) for m in images)
        if self.features is None:
            return moved
        inner = self.features.on(group, shape[1:])
        whole = [TensorAction(shape, tuple(_after_first(a))) for a in inner]
        return tuple(a @ b for a, b in zip(moved, whole, strict=True))

    @property
    def text(self) -> str:
        text = self.word if self.images is None else f"{self.word}:" + matrix_text(self.images)
        return text if self.features is None else f"{text}:features={self.features}"


@dataclass(frozen=True, eq=False, repr=False)
class Several(ActionSpec):
    """One spec per tensor, by name or by position; resolved by ``Symmetry``."""

    names: tuple[str, ...] | None
    specs: tuple[ActionSpec, ...]

    def on(self, group: Group, shape: tuple[int, ...]) -> tuple[Action, ...]:
        raise WrongUse("several specs stand for several tensors; they cannot act on one")

    @property
    def text(self) -> str:
        if self.names is None:
            return "|".join(s.text for s in self.specs)
        return "|".join(f"{n}={s.text}" for n, s in zip(self.names, self.specs, strict=True))


def invariant() -> Invariant:
    """The group leaves the tensor alone.

    >>> print(invariant())
    invariant
    """
    return Invariant()


def same(name: str | None = None) -> Same:
    """The output is moved like the input; ``name`` says which, where there are several."""
    return Same(name)


def vector(
    representation: object = None,
    *,
    perm: object = None,
    sign: object = None,
    matrix: object = None,
) -> Vector:
    """Permutations, signs or matrices on the last axis, one per generator.

    Without arguments the group acts by its natural permutations or matrices, if their size fits.

    Args:
        representation: An ``algebra.Representation`` in place of the rest.
        perm: Permutations, one per generator; entry j moves to ``p[j]``.
        sign: Signs as they stand in the result: ``y[p[j]] = sign[p[j]] x[j]``.
        matrix: Square matrices, one per generator.

    Example:
        >>> print(vector(sign=[-1, -1, -1, -1]))
        vector:perm=0 1 2 3:sign=-1 -1 -1 -1
    """
    if representation is not None and (perm is not None or sign is not None or matrix is not None):
        raise WrongUse("give a vector action either as a representation or by perm=, sign=, matrix=, not both")
    if representation is not None:
        return Vector(*from_representation(representation))
    return Vector(read_matrices(perm, sign, matrix))


def tokens(perm: object = None, *, features: ActionSpec | None = None) -> Tokens:
    """The group permutes the tokens: the first sample axis of ``[batch, tokens, ...]``.

    Args:
        perm: Permutations, one per generator; the natural ones of the group by default.
        features: A further action on what stands at each token.

    >>> print(tokens(perm=[1, 2, 0]))
    tokens:perm=1 2 0
    """
    return Tokens(read_matrices(perm=perm), features, "tokens")


def rows(perm: object = None, *, features: ActionSpec | None = None) -> Tokens:
    """The group permutes the rows of a set ``[batch, rows, ...]``: ``tokens`` by its name for sets."""
    return Tokens(read_matrices(perm=perm), features, "rows")


def several(*specs: ActionSpec, **named: ActionSpec) -> Several:
    """One spec per tensor, all by position or all by name.

    >>> print(several(policy=same(), value=invariant()))
    policy=same|value=invariant
    """
    if bool(specs) == bool(named):
        raise WrongUse("several() takes specs all by position or all by name, and at least one")
    return Several(tuple(named), tuple(named.values())) if named else Several(None, specs)


def as_spec(value: object) -> ActionSpec:
    """A spec from a spec, a dictionary, a tuple, a callable or its spelling."""
    if isinstance(value, ActionSpec):
        return value
    if isinstance(value, Mapping):
        return Several(tuple(map(str, value)), tuple(as_spec(v) for v in value.values()))
    if isinstance(value, str):
        from intertwiner.symmetry.parse import parse_action

        return parse_action(value)
    if callable(value):
        from intertwiner.symmetry.custom import custom

        return custom(value)
    if isinstance(value, Sequence):
        return Several(None, tuple(as_spec(v) for v in value))
    raise WrongUse(f"expected an action such as image(G) or invariant(), got {type(value).__name__}")


def natural_images(group: Group, size: int) -> tuple[Matrix, ...]:
    """Natural permutations or matrices of the generators, in the size asked for."""
    permutations, matrices = group.permutations, group.matrices
    if permutations is not None and permutations.shape[1] == size:
        return tuple(Monomial(permutations[g]) for g in group.generators)
    if matrices is not None and matrices.shape[1] == size:
        return tuple(mat.as_matrix(_tidy(matrices[g])) for g in group.generators)
    have = [f"permutations of {permutations.shape[1]} points"] if permutations is not None else []
    have += [f"{matrices.shape[1]} x {matrices.shape[1]} matrices"] if matrices is not None else []
    raise ShapeMismatch(
        f"{group.name} has {' and '.join(have) or 'no natural action'}, the axis has {size} entries; "
        "give perm=, sign= or matrix=, one per generator"
    )


def _tidy(matrix: np.ndarray) -> np.ndarray:
    """Entries within rounding of -1, 0, 1 made exact, so that quarter turns become signed permutations."""
    nearest = np.round(matrix)
    return np.where(np.isclose(matrix, nearest, rtol=0, atol=mat.ROUNDING), nearest, matrix)


def _after_first(action: Action) -> list:
    from intertwiner.symmetry.tensor_action import AxisFactor

    if not isinstance(action, TensorAction):
        raise WrongUse("features= takes an action with matrices, not a callable")
    return [AxisFactor(tuple(a + 1 for a in f.axes), f.matrix) for f in action.factors]
