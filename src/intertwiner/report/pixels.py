"""Arrays as small PNG pictures inside a ``data:`` address, with nothing but numpy and zlib.

A filter is drawn on a diverging scale, blue below zero and red above, so that a change of sign is seen; three
channels of a picture are drawn in colour around middle grey. [PNG, ISO/IEC 15948]
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

# Blue, white, red of equal lightness steps: ColorBrewer RdBu.
_STOPS = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], dtype=float)
_GAP = 1


def data_address(pixels: UInt8[ndarray, "h w 3"]) -> str:
    """The picture as ``data:image/png;base64,...``."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row opens with filter type 0
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in parts
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode("ascii")


def diverging(values: Float[ndarray, "h w"], scale: float) -> UInt8[ndarray, "h w 3"]:
    """Blue at ``-scale``, white at zero, red at ``scale``.

    >>> diverging(np.array([[0.0, 1.0]]), 1.0).tolist()
    [[[247, 247, 247], [103, 0, 31]]]
    """
    at = np.clip(values / scale if scale > 0 else np.zeros_like(values), -1, 1) * 2 + 2
    low = np.minimum(at.astype(int), len(_STOPS) - 2)
    part = (at - low)[..., None]
    return np.rint(_STOPS[low] * (1 - part) + _STOPS[low + 1] * part).astype(np.uint8)


def colour(values: Float[ndarray, "3 h w"], scale: float) -> UInt8[ndarray, "h w 3"]:
    """Red, green and blue around middle grey.

    >>> colour(np.zeros((3, 1, 1)), 1.0).tolist()
    [[[128, 128, 128]]]
    """
    at = np.clip(values / scale if scale > 0 else np.zeros_like(values), -1, 1)
    return np.rint(127.5 + 127.5 * at.transpose(1, 2, 0)).astype(np.uint8)


def picture(values: Float[ndarray, "..."], scale: float, *, channels: int = 4) -> UInt8[ndarray, "h w 3"]:
    """One filter as pixels: a row of numbers, one channel, three channels in colour, or channels side by side.

    Args:
        values: (n,), (h, w) or (c, h, w); more leading axes are read as channels.
        scale: The value that gets the full colour.
        channels: How many channels are drawn side by side, where there are not three.
    """
    if values.ndim <= 1:
        return diverging(values.reshape(1, -1), scale)
    if values.ndim == 2:
        return diverging(values, scale)
    stack = values.reshape(-1, *values.shape[-2:])
    if len(stack) == 3:
        return colour(stack, scale)
    panels = []
    for channel in stack[:channels]:
        panels += [diverging(channel, scale), np.full((channel.shape[0], _GAP, 3), 160, dtype=np.uint8)]
    return np.concatenate(panels[:-1], axis=1)
