"""A Lightning fit is watched step by step: as in a plain loop, with accumulation, schedulers and clipping."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intertwiner.errors import WrongUse
from intertwiner.interop.lightning_monitor import Watching, conservation_callback
from intertwiner.training.families import Family, Piece
from intertwiner.training.views import View


def law() -> Family:
    views = {"0.weight": View(4, 0, 3, (3,), (1,)), "0.bias": View(4, 0, 1), "2.weight": View(4, 0, 1, (2,), (4,))}
    pieces = [Piece(name, view, Fraction(-1 if name == "2.weight" else 1)) for name, view in views.items()]
    return Family("balance", tuple(pieces), "0", "scales", "|0.weight[i]|^2 + 0.bias[i]^2 - |2.weight[:, i]|^2", 4)


def fit(callback: Any, folder: Path, *, optimizers: int = 1, decay: float = 1.0, **trainer: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Lightning and its neighbours deprecate among themselves
        lightning = pytest.importorskip("lightning.pytorch", reason="the extra `lightning` is not installed")

        class Module(lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
                self.automatic_optimization = optimizers == 1

            def training_step(self, batch: list[Tensor]) -> Tensor:
                return nn.functional.mse_loss(self.net(batch[0]), batch[1])

            def configure_optimizers(self) -> Any:
                found = [torch.optim.SGD(self.net.parameters(), lr=0.1) for _ in range(optimizers)]
                if optimizers > 1:
                    return found
                schedule = torch.optim.lr_scheduler.ExponentialLR(found[0], decay)
                return {"optimizer": found[0], "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        torch.manual_seed(3)
        x, y = torch.randn(48, 3).double(), torch.randn(48, 2).double()
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        lightning.Trainer(
            default_root_dir=folder, max_epochs=2, enable_model_summary=False, callbacks=[callback], **quiet, **trainer
        ).fit(Module(), data)
    return callback.monitor


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, 12), ({"accumulate_grad_batches": 3}, 4), ({"decay": 0.9}, 12), ({"gradient_clip_val": 0.1}, 12)],
)
def test_every_step_of_a_fit_is_predicted(tmp_path: Path, options: dict[str, Any], steps: int) -> None:
    pytest.importorskip("lightning", reason="the extra `lightning` is not installed")
    monitor = fit(conservation_callback([law()], attribute="net"), tmp_path, **options)
    (drift,) = monitor.drift
    assert monitor.steps == steps
    assert drift.unexplained is not None
    assert drift.unexplained < 1e-13 < 1e-7 < drift.worst
    if "decay" in options:
        assert monitor.moments[2].rate == pytest.approx(0.09)


def test_several_optimisers_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="the extra `lightning` is not installed")
    with pytest.raises(WrongUse, match=r"one optimiser, and the module has 2\. .*Nothing was trained"):
        fit(conservation_callback([law()], attribute="net"), tmp_path, optimizers=2)


def test_there_is_no_monitor_before_a_fit() -> None:
    with pytest.raises(WrongUse, match="no fit has begun"):
        _ = Watching([law()], "", "", {}).monitor


def test_without_lightning_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lightning.pytorch.callbacks", None)
    with pytest.raises(WrongUse, match=r"pip install 'intertwiner\[lightning\]'.*Nothing was computed"):
        conservation_callback([law()])
