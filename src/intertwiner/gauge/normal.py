"""Normal form of neurons: one representative per neuron up to scale and shift, signs left to the matching.

Balancing (theory 1 and 2): where the gauge scales, a row ``(w, b)`` gets unit norm; where it shifts the bias, the bias
counts only modulo the shift. Two neurons are equal up to the gauge iff their keys are equal, or opposite where a sign
is in the gauge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intertwiner.errors import ShapeMismatch
from intertwiner.gauge.element import GaugeElement
from intertwiner.numerics.monomial import Monomial


@dataclass(frozen=True, eq=False)
class NormalForm:
    """Neurons up to scale and shift.

    Args:
        keys: One row per neuron, to be compared and nothing else: ``(w, b)`` where the bias has no shift gauge, ``w``
            for real shifts, ``(w, |w| sin 2b, w cos 2b)`` for shifts by pi.
        element: The gauge element from canonical to actual pre-activations, ``z = element(canonical)``.
        constant: Neurons that do not depend on the input: ``w = 0``.
    """

    keys: Float[ndarray, "n k"]
    element: GaugeElement
    constant: Bool[ndarray, " n"]


def normal_form(
    rows: Float[ndarray, "n r"], const: Float[ndarray, " n"], *, scale: str = "none", shift: str = "none"
) -> NormalForm:
    """Keys of neurons ``z = rows u + const`` (see ``NormalForm``).

    Norms are summed in ascending order of magnitude, so permuting columns or changing their signs does not change a
    bit of the keys beyond the permutation: exact relations stay exact after balancing.

    Args:
        rows: Weights, one row per neuron.
        const: Biases.
        scale: The scale gauge, ``"none"``, ``"positive"`` or ``"nonzero"``.
        shift: The shift gauge, ``"none"``, ``"pi"`` or ``"real"``.

    Raises:
        ShapeMismatch: If ``const`` has another length than ``rows``.

    Example:
        >>> form = normal_form(np.array([[3.0], [0.0]]), np.array([4.0, 0.0]), scale="positive")
        >>> form.keys
        array([[0.6, 0.8], [0. , 0. ]])
        >>> form.element.matrix.factor, form.constant
        (array([5., 1.]), array([False,  True]))
    """
    rows = np.asarray(rows, dtype=np.float64)
    const = np.asarray(const, dtype=np.float64)
    if rows.ndim != 2 or const.shape != rows.shape[:1]:
        raise ShapeMismatch(f"rows of shape {rows.shape} and constants of shape {const.shape} are no layer")
    constant = np.asarray(~rows.any(axis=1))
    if shift == "none":
        keys, tau = np.column_stack([rows, const]), np.zeros(len(rows))
    elif shift == "real":
        keys, tau = rows, const
    else:
        keys, tau = _keys_modulo_pi(rows, const)
    factor = np.ones(len(rows))
    if scale != "none":
        norm = stable_norm(keys)
        factor = np.where(norm > 0, norm, 1.0)
        keys = keys / factor[:, None]
    return NormalForm(keys, GaugeElement(Monomial.diagonal(factor), tau), constant)


def _keys_modulo_pi(rows: ndarray, const: ndarray) -> tuple[ndarray, ndarray]:
    """Keys that are odd under ``(w, b) -> (-w, -b)`` and unchanged and continuous under ``b -> b + pi``.

    No representative of b in an interval would do: its ends are the same neuron, and rounding falls on both sides.
    """
    norm = stable_norm(rows)
    keys = np.column_stack([rows, norm * np.sin(2 * const), rows * np.cos(2 * const)[:, None]])
    return keys, np.pi * np.round(const / np.pi)


def stable_norm(rows: Float[ndarray, "n r"]) -> Float[ndarray, " n"]:
    """Euclidean norm of each row, bit for bit the same for permuted and sign-changed columns.

    Cost:
        One sort per row: ``O(n r log r)``.
    """
    # The order of summation follows the memory layout: it must be the same for every array.
    squares = np.ascontiguousarray(rows * rows)
    squares.sort(axis=1)
    return np.sqrt(squares.sum(axis=1))
