"""A shuffled stream: another order, the same in every pass, the same for all inputs, and every sample once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from intertwiner.audit.stream import InputSpec, Stream

X = torch.arange(40.0).reshape(20, 2)


def read(stream: Stream) -> torch.Tensor:
    return torch.cat([batch[0] for batch in stream])


@pytest.mark.parametrize("data", [X, X.numpy(), {"x": X}, TensorDataset(X)], ids=["tensor", "array", "mapping", "set"])
def test_every_pass_has_the_same_other_order(data: object) -> None:
    stream = Stream(data, [InputSpec("x", (2,))], batch_size=6, shuffle=3)
    first = read(stream)
    assert torch.equal(first, read(stream))
    assert not torch.equal(first, X)
    assert torch.equal(first[first[:, 0].argsort()], X)
    assert not torch.equal(first, read(Stream(data, [InputSpec("x", (2,))], batch_size=6, shuffle=4)))


def test_inputs_stay_side_by_side() -> None:
    stream = Stream((X, 2 * X), [InputSpec("x", (2,)), InputSpec("y", (2,))], batch_size=6, shuffle=3)
    for x, y in stream:
        assert torch.equal(y, 2 * x)


def test_without_a_seed_the_order_is_kept() -> None:
    assert torch.equal(read(Stream(X, [InputSpec("x", (2,))], batch_size=6)), X)


def test_what_only_iterates_comes_as_it_comes() -> None:
    batches = [X[:5], X[5:]]
    assert np.array_equal(read(Stream(batches, [InputSpec("x", (2,))], shuffle=3)), X)
