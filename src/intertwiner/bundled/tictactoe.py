"""Every reachable position of tic-tac-toe with its value under perfect play.

A position is an array of nine cells, row-major, 0 empty, 1 for X (who begins), 2 for O. The value is +1 where X wins,
0 where the game is drawn, -1 where O wins. Turning or mirroring the board turns positions into positions of the same
value, so the 5,478 of them are a union of orbits of D4 (765 of them) and the value is an invariant function.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Int
from numpy import ndarray

_LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def winner(board: tuple[int, ...]) -> int:
    """The player who has three in a row: 1, 2, or 0 for nobody.

    >>> winner((1, 1, 1, 2, 2, 0, 0, 0, 0))
    1
    """
    for a, b, c in _LINES:
        if board[a] and board[a] == board[b] == board[c]:
            return board[a]
    return 0


@cache
def positions() -> tuple[Int[ndarray, "n 9"], Int[ndarray, " n"]]:
    """All positions that play can reach, in lexicographic order, and their minimax values.

    >>> boards, values = positions()
    >>> len(boards), int(values[0])
    (5478, 0)
    """
    values: dict[tuple[int, ...], int] = {}

    def value(board: tuple[int, ...]) -> int:
        if board in values:
            return values[board]
        won = winner(board)
        if won or 0 not in board:
            result = (0, 1, -1)[won]
        else:
            player = 1 if board.count(1) == board.count(2) else 2
            moves = ((*board[:i], player, *board[i + 1 :]) for i in range(9) if not board[i])
            result = (max if player == 1 else min)([value(move) for move in moves])
        values[board] = result
        return result

    value((0,) * 9)
    boards = np.array(sorted(values), dtype=np.int64)
    scores = np.array([values[tuple(int(cell) for cell in board)] for board in boards], dtype=np.int64)
    boards.setflags(write=False)
    scores.setflags(write=False)
    return boards, scores


def planes(boards: Int[ndarray, "n 9"]) -> ndarray:
    """Two images of 3 x 3 per position, where X stands and where O stands: float32 of shape (n, 2, 3, 3).

    >>> planes(np.array([[1, 0, 0, 0, 2, 0, 0, 0, 0]]))[0, 1].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    grid = np.asarray(boards).reshape(-1, 1, 3, 3)
    return np.concatenate([grid == 1, grid == 2], axis=1).astype(np.float32)
