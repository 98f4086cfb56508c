"""A written twin passes torch.export, torch.compile and ONNX, for batches of any size, and is equivariant."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conv_twin import PLANE, chain_twin, conv_twin, images, moved
from torch import Tensor, nn
from torch.export import Dim

from intertwiner.network import trace
from intertwiner.network.record import graph_to_record, module_from_record
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.testing import assert_equivariant

Case = Callable[[], tuple[nn.Module, Tensor, Tensor]]
COMPLETE = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not COMPLETE, reason="needs the extra 'onnx': onnx, onnxscript and onnxruntime")


class Mixed(nn.Module):
    """Tokens: a norm, two heads of attention, a skip connection, parts put together, a token for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.qkv, self.out, self.head = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        return self.head(torch.cat([x[:, 0], x.mean(1)], 1))


class Residual(nn.Module):
    """Batch norm, a skip connection with a stride, pools, an even grid padded unevenly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 4, padding="same", padding_mode="circular"), nn.BatchNorm2d(4)
        self.second, self.short = nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(4, 6, 1, 2)
        self.head = nn.Linear(6, 3)
        self.norm.running_mean = torch.randn(4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.nn.functional.gelu(self.second(x) + self.short(x))
        return self.head(torch.nn.functional.max_pool2d(x, 2).amax((2, 3)))


def kept(twin: TwinGraph) -> nn.Module:
    """The module as it comes back from data."""
    return module_from_record(*graph_to_record(twin.network, twin.graph), dtype=torch.float32)


def conv() -> tuple[nn.Module, Tensor, Tensor]:
    return kept(conv_twin()), images(2), images(7)


def chain() -> tuple[nn.Module, Tensor, Tensor]:
    twin = chain_twin()
    shape = twin.network.inputs[0].shape[1:]
    return kept(twin), torch.randn(2, *shape), torch.randn(7, *shape)


def of(module: type[nn.Module], *shape: int) -> Case:
    def make() -> tuple[nn.Module, Tensor, Tensor]:
        torch.manual_seed(0)
        network = trace(module().eval(), torch.randn(2, *shape))
        return kept(TwinGraph(network, network.graph, {}, {})), torch.randn(2, *shape), torch.randn(7, *shape)

    return make


CASES: dict[str, Case] = {
    "convolutions": conv, "chain": chain, "tokens": of(Mixed, 5, 8), "residual": of(Residual, 1, 8, 8),
}  # fmt: skip


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, Tensor]:
    """A module, an example, and a batch of another size."""
    return CASES[request.param]()


def near(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) <= 1e-5 * max(1.0, float(b.abs().max()))


def test_the_twin_is_equivariant_and_a_moved_weight_is_seen() -> None:
    twin = conv_twin()
    assert_equivariant(kept(twin), PLANE, images(32))
    assert_equivariant(twin.module(torch.float64), PLANE, images(32, torch.float64))
    with pytest.raises(AssertionError):
        assert_equivariant(moved(twin), PLANE, images(32))


def test_torch_export(case: tuple[nn.Module, Tensor, Tensor], tmp_path: Path) -> None:
    module, example, batch = case
    program = torch.export.export(module, (example,), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(program, tmp_path / "twin.pt2")
    again = torch.export.load(tmp_path / "twin.pt2").module()
    with torch.no_grad():
        assert near(again(batch), module(batch))
        assert not near(again(batch.flip(0)), module(batch))  # the comparison can fail


def test_torch_compile(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    module, example, batch = case
    torch.compiler.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert near(compiled(example), module(example))
        assert near(compiled(batch), module(batch))


@needs_onnx
def test_onnx(case: tuple[nn.Module, Tensor, Tensor], tmp_path: Path) -> None:
    import onnxruntime

    module, example, batch = case
    path = tmp_path / "twin.onnx"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what exporters deprecate among themselves
            torch.onnx.export(
                module, (example,), path, dynamo=True, dynamic_shapes=({0: Dim("batch")},), verbose=False
            )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (i.name for i in session.get_inputs())
    for x in (example, batch, batch[:1]):
        (answer,) = session.run(None, {name: x.numpy()})
        with torch.no_grad():
            assert near(torch.from_numpy(np.asarray(answer)), module(x))
