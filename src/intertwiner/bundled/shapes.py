"""Generated images: one small shape somewhere on a noisy 16 x 16 grid, turned or mirrored by an element of D4.

The class is which shape it is, whatever its place and turn, so labels are invariant under D4, and every turn is drawn
equally often, so the distribution of images is invariant as well.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

SIZE = 16
NOISE = 0.15

_DRAWINGS = {
    "bar": ("#####",),
    "corner": ("#....", "#....", "#....", "#....", "#####"),
    "tee": ("#####", "..#..", "..#..", "..#..", "..#.."),
    "cross": ("..#..", "..#..", "#####", "..#..", "..#.."),
    "ring": ("#####", "#...#", "#...#", "#...#", "#####"),
    "hook": ("####.", "#....", "#....", "#####", "....."),
}
NAMES = tuple(_DRAWINGS)


def _turned(name: str, turn: int) -> Float[ndarray, "h w"]:
    drawing = np.array([[float(cell == "#") for cell in row] for row in _DRAWINGS[name]])
    drawing = np.rot90(drawing, turn % 4)
    return drawing if turn < 4 else drawing[:, ::-1]


def images(count: int, seed: int) -> tuple[Float[ndarray, "n 1 16 16"], Int[ndarray, " n"]]:
    """``count`` images and their classes, the same for the same seed.

    >>> x, label = images(4, seed=0)
    >>> x.shape, x.dtype.name, label.shape
    ((4, 1, 16, 16), 'float32', (4,))
    """
    rng = np.random.default_rng(seed)
    stamps = [[_turned(name, turn) for turn in range(8)] for name in NAMES]
    labels = rng.integers(len(NAMES), size=count)
    turns = rng.integers(8, size=count)
    brightness = rng.uniform(0.6, 1.4, size=count)
    places = rng.random((count, 2))
    out = rng.normal(0.0, NOISE, size=(count, 1, SIZE, SIZE))
    for i in range(count):
        stamp = stamps[labels[i]][turns[i]]
        height, width = stamp.shape
        top = int(places[i, 0] * (SIZE - height + 1))
        left = int(places[i, 1] * (SIZE - width + 1))
        out[i, 0, top : top + height, left : left + width] += brightness[i] * stamp
    return out.astype(np.float32), labels
