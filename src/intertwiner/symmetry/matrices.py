"""Monomial and dense matrices side by side: the few operations that actions on tensors need of either kind.

Row-major pairs throughout: the index of ``(i, j)`` in a product is ``i * n + j``.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.errors import NotAnAction, ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.numerics.tolerance import ROUNDING

Matrix = Monomial | ndarray


def as_matrix(value: object) -> Matrix:
    """A ``Monomial`` wherever the array is one exactly, otherwise a square float64 array.

    >>> as_matrix([[0, 2], [1, 0]])
    Monomial(2: (0 1), scaled)
    """
    if isinstance(value, Monomial):
        return value
    array = np.array(value, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ShapeMismatch(f"an action needs square matrices, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise NotAnAction("the matrix of an action has entries that are NaN or infinite")
    entries = array != 0
    if (entries.sum(axis=0) == 1).all() and (entries.sum(axis=1) == 1).all():
        index = entries.argmax(axis=0)
        return Monomial(index, array[index, np.arange(len(array))])
    array.setflags(write=False)
    return array


def dimension(matrix: Matrix) -> int:
    return matrix.dimension if isinstance(matrix, Monomial) else len(matrix)


def is_identity(matrix: Matrix) -> bool:
    return matrix.is_identity if isinstance(matrix, Monomial) else bool(np.array_equal(matrix, np.eye(len(matrix))))


def to_dense(matrix: Matrix) -> Float[ndarray, "n n"]:
    return matrix.dense() if isinstance(matrix, Monomial) else matrix


def product(first: Matrix, second: Matrix) -> Matrix:
    """``first second``: the second acts first."""
    if isinstance(first, Monomial):
        return first @ second if isinstance(second, Monomial) else first.apply(second)
    return first @ second if not isinstance(second, Monomial) else second.apply_right(first)


def inverse(matrix: Matrix) -> Matrix:
    if isinstance(matrix, Monomial):
        return matrix.inverse()
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError as error:
        raise NotAnAction("the matrix of an action is singular: it cannot belong to a group element") from error


def kron(first: Matrix, second: Matrix) -> Matrix:
    if isinstance(first, Monomial) and isinstance(second, Monomial):
        return first.kron(second)
    return np.kron(to_dense(first), to_dense(second))


def conjugate(matrix: Matrix, renumber: Int[ndarray, " n"]) -> Matrix:
    """The same map when the coordinate ``j`` is renumbered to ``renumber[j]``."""
    if isinstance(matrix, Monomial):
        rename = Monomial(renumber)
        return rename @ matrix @ rename.inverse()
    old = np.argsort(renumber)
    return matrix[np.ix_(old, old)]


def ratio(first: Matrix, second: Matrix, tolerance: float) -> float | None:
    """The number c with ``second = c first``, or None; entry by entry, relative to the largest.

    >>> ratio(Monomial([1, 0]), Monomial([1, 0], [-1, -1]), 0.0)
    -1.0
    """
    if isinstance(first, Monomial) and isinstance(second, Monomial):
        if not np.array_equal(first.index, second.index):
            return None
        a, b = first.factor, second.factor
    else:
        a, b = to_dense(first).ravel(), to_dense(second).ravel()
    pivot = int(np.abs(a).argmax()) if a.size else 0
    if not a.size or a[pivot] == 0:
        return 1.0
    c = float(b[pivot] / a[pivot])
    worst = float(np.abs(b - c * a).max())
    # Rounding of a product of n x n matrices grows with n.
    return c if worst <= tolerance * dimension(first) * float(np.abs(b).max()) else None


def split(matrix: Matrix, n: int) -> tuple[Matrix, Matrix] | None:
    """``(A, B)`` with ``A`` of dimension n and ``A (x) B`` equal to the matrix, or None.

    Monomial: ``index[i m + j] = p[i] m + q[j]`` compared at every entry, factors up to rounding of one product.
    Dense: the blocks are multiples of one block; read off at the largest entry [Van Loan 2000, sec. 2].

    >>> a, b = split(Monomial([1, 0]).kron(Monomial([1, 2, 0])), 2)
    >>> a, b
    (Monomial(2: (0 1)), Monomial(3: (0 1 2)))
    """
    m = dimension(matrix) // n
    if isinstance(matrix, Monomial):
        index, factor = matrix.index.reshape(n, m), matrix.factor.reshape(n, m)
        p, q = index[:, 0] // m, index[0] % m
        if not np.array_equal(index, p[:, None] * m + q[None, :]):
            return None
        left = factor[:, 0] / factor[0, 0]
        if not np.allclose(factor, left[:, None] * factor[0][None, :], rtol=ROUNDING, atol=0):
            return None
        return Monomial(p, left), Monomial(q, factor[0])
    blocks = matrix.reshape(n, m, n, m).transpose(0, 2, 1, 3).reshape(n * n, m * m)
    row, column = np.unravel_index(np.abs(blocks).argmax(), blocks.shape)
    if blocks[row, column] == 0:
        return None
    left, right = blocks[:, column] / blocks[row, column], blocks[row]
    if np.linalg.norm(blocks - np.outer(left, right)) > ROUNDING * np.linalg.norm(blocks):
        return None
    return as_matrix(left.reshape(n, n)), as_matrix(right.reshape(m, m))
