"""Whatever the architecture: weights made redundant at random, and the reduced network is the same function."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from intertwiner.identify import reduce
from intertwiner.network import trace
from intertwiner.numerics.tolerance import KEPT_FUNCTION

sys.path.append(str(Path(__file__).resolve().parent.parent / "network"))
from architectures import architectures
from ir_reference import interpret

PARAMETRISED = ("weight_norm", "spectral_norm")  # a row of zeros has no direction
CASES = {n: c for n, c in architectures().items() if not n.startswith("shape_") and n not in PARAMETRISED}
TAKEN: dict[str, int] = {}


def degraded(module: nn.Module) -> nn.Module:
    """Every tensor with a copy, an opposite and a zero among its rows."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for p in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
            if p.ndim and p.shape[0] >= 3:
                p[1] = p[0]
            if p.ndim > 1 and p.shape[0] >= 4:
                p[3] = 0
            if p.ndim and p.shape[0] >= 5:
                p[4] = -2 * p[2]
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_var is not None:
            m.running_var.abs_().clamp_(min=0.1)
    return module


@pytest.mark.parametrize("name", CASES)
def test_the_function_is_kept(name: str) -> None:
    """Measured by the certificate, and by the interpreter of records in place of torch's own operators."""
    module, example = CASES[name]
    module = degraded(module)
    found = reduce(module, example=example, samples=32)
    assert found.certificate.relative <= KEPT_FUNCTION
    network = trace(module, example)
    values = interpret(network, example)
    with torch.no_grad():
        after = pytree.tree_leaves(found.module(*example))
    for a, node in zip(after, network.nodes[-1].inputs, strict=True):
        torch.testing.assert_close(a.double(), values[node], rtol=1e-4, atol=1e-4)
    TAKEN[name] = len(found.removed)


def test_something_was_taken_out() -> None:
    if len(TAKEN) < len(CASES):
        pytest.skip("only some architectures were run")
    assert sum(map(bool, TAKEN.values())) >= 30
    assert TAKEN["residual"] >= 6
