"""Twins that ``rewrite`` selects under a budget pass torch.export, inductor and ONNX, for batches of any size."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import intertwiner as iw
from intertwiner.algebra import dihedral
from intertwiner.rewrite.rewrite import Rewrite
from intertwiner.symmetry import Symmetry, image, invariant

D4 = Symmetry(dihedral(4), image(), invariant())
COMPLETE = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not COMPLETE, reason="needs the extra 'onnx': onnx, onnxscript and onnxruntime")
needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)
        self.norm.running_mean = torch.randn(8) / 5

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(torch.relu(x + self.b(torch.relu(self.a(x)))).mean((2, 3)))


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.GELU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 3),
    )  # fmt: skip


@pytest.fixture(params=[plain, Residual], scope="module")
def twin(request: pytest.FixtureRequest) -> Rewrite:
    torch.manual_seed(0)
    return iw.rewrite(request.param().eval(), D4, torch.randn(600, 1, 8, 8), 1.0)


def inputs(count: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))


def near(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) <= 1e-5 * max(1.0, float(b.abs().max()))


def test_it_was_selected_within_the_budget_and_is_exact(twin: Rewrite) -> None:
    found = twin.certificate
    assert found.method == "selected" and found.cost <= 1.0
    assert found.verdict.is_proved and found.verdict.exact
    assert found.defect_float64 <= 1e-12 < found.original_defect


def test_torch_export(twin: Rewrite, tmp_path: Path) -> None:
    program = torch.export.export(twin.module, (inputs(2),), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(program, tmp_path / "twin.pt2")
    again = torch.export.load(tmp_path / "twin.pt2").module()
    with torch.no_grad():
        for x in (inputs(2), inputs(7)):
            assert near(again(x), twin.module(x))
        assert not near(again(inputs(7).flip(0)), twin.module(inputs(7)))  # the comparison can fail


@pytest.mark.slow
@needs_compiler
def test_inductor(twin: Rewrite) -> None:
    torch.compiler.reset()
    compiled = torch.compile(twin.module, fullgraph=True)
    with torch.no_grad():
        for x in (inputs(4), inputs(9)):
            assert near(compiled(x), twin.module(x))


@needs_onnx
def test_onnx(twin: Rewrite, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "twin.onnx"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what exporters deprecate among themselves
            shapes = ({0: Dim("batch")},)
            torch.onnx.export(twin.module, (inputs(2),), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    finally:
        logging.disable(logging.NOTSET)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (i.name for i in session.get_inputs())
    for x in (inputs(1), inputs(2), inputs(11)):
        (answer,) = session.run(None, {name: x.numpy()})
        with torch.no_grad():
            assert near(torch.from_numpy(np.asarray(answer)), twin.module(x))
