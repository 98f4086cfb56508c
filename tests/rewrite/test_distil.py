"""Distillation: ties never break, a reachable teacher is reached, an unreachable one is not, and nothing gets worse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from taught_twins import answers, classifier, near, planted_twin, redrawn
from torch import Tensor, nn

from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.criterion import criterion
from intertwiner.rewrite.distil import Distilled, distil
from intertwiner.rewrite.tied import tied, trivial
from intertwiner.rewrite.twin import TwinGraph


@pytest.fixture(scope="module", params=["mlp", "conv"])
def taught(request: pytest.FixtureRequest) -> tuple[TwinGraph, Distilled, Tensor, Tensor]:
    """A teacher with the ties of the student, which starts nearby."""
    teacher, x = planted_twin(request.param)
    start = near(teacher, redrawn(teacher, 8), 0.05)
    target = answers(teacher, x)
    return start, distil(start, x, target, loss="squared", epochs=40, batch=32, rate=5e-3), x, target


def test_a_reachable_teacher_is_reached(taught: tuple[TwinGraph, Distilled, Tensor, Tensor]) -> None:
    _, out, x, target = taught
    left = (answers(out.twin, x) - target).norm() / (target - target.mean(0)).norm()
    assert out.improved
    assert left < 1e-2
    assert min(out.losses) < 5e-5 < 1e-2 < out.losses[0]
    assert out.steps == 40 * (550 // 32)


def test_ties_hold_bit_for_bit(taught: tuple[TwinGraph, Distilled, Tensor, Tensor]) -> None:
    start, out, _, _ = taught
    small = dict(out.twin.module(torch.float32).named_parameters())
    for name, tie in out.twin.ties.items():
        array = out.twin.params[name].array
        assert not np.array_equal(array, start.params[name].array)
        for values in (array, small[name].detach().numpy()):
            flat = values.reshape(tie.label.shape)
            assert np.array_equal(flat, tie.matrix(tie.coordinates(flat)).astype(flat.dtype))
        assert np.array_equal(array, small[name].detach().numpy().astype(np.float64)), "float32 loses nothing"


def test_one_moved_entry_is_no_tie(taught: tuple[TwinGraph, Distilled, Tensor, Tensor]) -> None:
    _, out, _, _ = taught
    tie = out.twin.ties["layers.0.weight"]
    flat = out.twin.params["layers.0.weight"].array.reshape(tie.label.shape).copy()
    shared = np.argwhere(np.bincount(tie.label.ravel())[tie.label] > 1)[0]
    flat[tuple(shared)] = np.nextafter(flat[tuple(shared)], np.inf)
    assert not np.array_equal(flat, tie.matrix(tie.coordinates(flat)))


def test_the_trained_twin_is_equivariant() -> None:
    teacher, x = planted_twin("conv")
    out = distil(redrawn(teacher, 1), x, answers(teacher, x), loss="squared", epochs=3, batch=32)
    module = out.twin.module(torch.float32)
    with torch.no_grad():
        there = module(x.rot90(1, (-2, -1)).flip(-1)).sort(1).values
        here = module(x).sort(1).values
        assert torch.allclose(there, here, atol=1e-5)
        assert not torch.allclose(module(x.roll(1, -1)).sort(1).values, here, atol=1e-2)


def test_shuffled_targets_are_not_reached() -> None:
    teacher, x = planted_twin("mlp")
    target = answers(teacher, x)
    wrong = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(0))]
    out = distil(teacher, x, wrong, loss="squared", epochs=50, batch=32)
    assert min(out.losses) > 0.5


def test_a_seed_gives_the_same_bits_and_another_one_does_not() -> None:
    teacher, x = planted_twin("conv")
    start, target = redrawn(teacher, 1), answers(teacher, x)

    def trained(seed: int) -> Distilled:
        return distil(start, x, target, loss="squared", epochs=1.5, batch=64, seed=seed)

    one, again, other = trained(0), trained(0), trained(1)
    assert one.losses == again.losses != other.losses
    for name, param in one.twin.params.items():
        assert np.array_equal(param.array, again.twin.params[name].array)
    assert any(not np.array_equal(p.array, other.twin.params[n].array) for n, p in one.twin.params.items())


def test_the_start_is_returned_where_training_cannot_improve() -> None:
    teacher, x = planted_twin("mlp")
    out = distil(teacher, x, answers(teacher, x).float(), loss="squared", epochs=2, batch=32, rate=3.0)
    assert not out.improved
    assert out.twin is teacher
    assert out.losses[0] == min(out.losses)
    assert "as it was" in str(out)
    better = distil(redrawn(teacher, 1), x, answers(teacher, x), loss="squared", epochs=2, batch=32)
    assert better.improved
    assert "->" in str(better)


def test_the_best_epoch_is_kept() -> None:
    """Few samples with noise are learnt by heart: the held-out loss falls, then rises, and its least is kept."""
    teacher, x = planted_twin("mlp")
    x = x[:48]
    noise = torch.randn(48, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = answers(teacher, x) + noise
    out = distil(redrawn(teacher, 8), x, target, loss="squared", epochs=60, batch=11, rate=6e-2)
    assert out.losses[0] > out.losses[-1] > 1.1 * min(out.losses)
    goal = criterion(target[:44], "squared")
    assert float(goal(answers(out.twin, x[44:]), target[44:])) == pytest.approx(min(out.losses), rel=1e-4)


def test_training_stops_at_a_share_of_the_start() -> None:
    teacher, x = planted_twin("mlp")
    start, target = near(teacher, redrawn(teacher, 8), 0.3), answers(teacher, x)
    short = distil(start, x, target, loss="squared", epochs=40, batch=32, rate=5e-3, stop_share=0.3)
    assert short.steps < 40 * (550 // 32)
    assert short.losses[-1] <= 0.3 * short.losses[0] < short.losses[-2]


def test_progress_is_told_and_an_interruption_goes_through() -> None:
    teacher, x = planted_twin("mlp")
    seen: list[tuple[int, int]] = []
    before = {n: p.array.copy() for n, p in teacher.params.items()}

    def stop(done: int, total: int, loss: float) -> None:
        seen.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(teacher, x, x[:, :1].expand(-1, answers(teacher, x).shape[1]), epochs=1, batch=32, progress=stop)
    assert seen == [(i, 17) for i in range(1, 6)]
    assert all(np.array_equal(before[n], p.array) for n, p in teacher.params.items())


@pytest.mark.parametrize("loss", ["squared", "soft"])
def test_logits_are_learnt_with_both_losses(loss) -> None:
    twin, x, labels = classifier()
    target = 4.0 * nn.functional.one_hot(labels, 3).float()
    out = distil(twin, x, target, loss=loss, epochs=40, batch=32)
    assert out.losses[-1] < 0.3 * out.losses[0]
    assert (answers(out.twin, x).argmax(1) == labels).double().mean() > 0.9


def test_labels_teach_where_the_target_does_not() -> None:
    twin, x, labels = classifier()
    target = torch.randn(480, 3, generator=torch.Generator().manual_seed(5))
    with_labels = distil(twin, x, target, epochs=40, batch=32, labels=labels, label_share=0.9)
    without = distil(twin, x, target, epochs=40, batch=32)
    right = [(answers(o.twin, x).argmax(1) == labels).double().mean() for o in (with_labels, without)]
    assert right[0] > 0.9 > 0.7 > right[1]
    assert "90% cross entropy" in with_labels.loss


def test_parameters_that_are_not_tied_stay() -> None:
    twin, x, labels = classifier()
    target = nn.functional.one_hot(labels, 3).float()
    ties = {n: t for n, t in twin.ties.items() if n != "2.bias"}
    out = distil(TwinGraph(twin.network, twin.graph, {}, ties), x, target, epochs=2)
    old, new = (dict(t.module(torch.float64).named_parameters())["2.bias"] for t in (twin, out.twin))
    assert torch.equal(old, new)
    trained = distil(twin, x, target, epochs=2).twin
    assert not torch.equal(old, dict(trained.module(torch.float64).named_parameters())["2.bias"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
def test_inputs_stay_in_their_type(dtype: torch.dtype) -> None:
    twin, x, labels = classifier()
    x, target = (3 * x).round().to(dtype), nn.functional.one_hot(labels, 3).float()
    one, other = distil(twin, x, target, epochs=1, batch=32), distil(twin, x.float(), target, epochs=1, batch=32)
    assert x.dtype == dtype
    assert one.losses == other.losses


def test_tokens_are_not_rounded() -> None:
    torch.manual_seed(0)
    network = trace(nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 1)).eval(), torch.zeros(2, dtype=torch.int64))
    twin = TwinGraph(network, network.graph, {}, {"1.weight": tied(trivial(1), [Monomial([1, 2, 0])])})
    x = torch.arange(4).repeat(30)
    out = distil(twin, x, 5 + network.module(x)[0].detach(), loss="squared", epochs=5, batch=8)
    assert out.steps == 65
    assert len(np.unique(out.twin.params["1.weight"].array)) == 1
