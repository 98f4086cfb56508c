"""All products of a finite group as a data set: the one-hot pair (x, y) and the class x y."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intertwiner.algebra import Group


def pairs(group: Group) -> tuple[Float[ndarray, "n two_orders"], Int[ndarray, " n"]]:
    """Every pair of elements, one-hot x beside one-hot y, and the number of their product.

    >>> from intertwiner.algebra import cyclic
    >>> x, product = pairs(cyclic(2))
    >>> x[1].tolist(), product.tolist()
    ([1.0, 0.0, 0.0, 1.0], [0, 1, 1, 0])
    """
    first, second = np.divmod(np.arange(group.order**2), group.order)
    unit = np.eye(group.order, dtype=np.float32)
    return np.concatenate([unit[first], unit[second]], axis=1), np.asarray(group.multiply(first, second))
