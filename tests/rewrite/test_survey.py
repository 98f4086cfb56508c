"""Which orbits are offered and chosen: what brute force finds, and nothing that nobody needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from graph_nets import double
from torch import Tensor, nn

from intertwiner.algebra import dihedral
from intertwiner.errors import BudgetTooSmall, CannotRewrite, DataTooSmall
from intertwiner.network import trace
from intertwiner.rewrite import survey
from intertwiner.rewrite.fold import folded
from intertwiner.rewrite.graph_task import GraphTask
from intertwiner.rewrite.survey import Survey
from intertwiner.symmetry import Symmetry, image, invariant

D4, SIDE = dihedral(4), 3
PLANE = Symmetry(D4, image(D4), invariant())


def pictures(count: int = 60) -> Tensor:
    return torch.randn(count, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def perceptron(width: int, seed: int = 0) -> nn.Sequential:
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, width), nn.ReLU(), nn.Linear(width, 3))
    double(net, seed)
    return net


def task_of(net: nn.Module, data: Tensor) -> GraphTask:
    with torch.no_grad():
        result = tuple(net(data).shape[1:])
    bound = PLANE.bind(tuple(data.shape[1:]), result)
    return GraphTask(folded(trace(net, data[:2])), bound, lambda: iter([(data,)]))


def explained(u: np.ndarray, t: np.ndarray) -> float:
    """Variance of t that least squares on u and a constant explains."""
    t = t - t.mean(0)
    if not u.shape[1]:
        return 0.0
    fit = (u - u.mean(0)) @ np.linalg.lstsq(u - u.mean(0), t, rcond=1e-10)[0]
    return float((fit**2).sum() / (t**2).sum())


def moved(task: GraphTask, data: Tensor) -> Tensor:
    """The data moved by every element."""
    return torch.cat([task.symmetry.act_on_input(g, (data,))[0] for g in range(8)])


def greedy(columns: list[np.ndarray], target: np.ndarray, width: int) -> tuple[list[int], list[float]]:
    """The orbit that explains most per channel beyond those taken, again and again, each time from all samples."""
    taken: list[int] = []
    shares: list[float] = []
    while True:
        used = sum(columns[o].shape[1] for o in taken)
        left = [o for o in range(len(columns)) if o not in taken and columns[o].shape[1] <= width - used]
        if not left:
            return taken, shares
        now = shares[-1] if shares else 0.0
        gains = {
            o: explained(np.column_stack([columns[k] for k in (*taken, o)]), target) - now for o in left
        }  # fmt: skip
        best = max(left, key=lambda o: gains[o] / columns[o].shape[1])
        taken.append(best)
        shares.append(now + gains[best])


def test_the_choice_is_that_of_brute_force() -> None:
    net, data = perceptron(5), pictures()
    with torch.no_grad():  # orbits of sizes 4, 8, 1, 8, 8, the small ones a little off
        filters = net[1].weight.view(5, SIDE, SIDE)
        filters[0] += filters[0].clone().flip(1)
        filters[2] = torch.tensor([[1.0, 2, 1], [2, -3, 2], [1, 2, 1]])
        filters += 0.03 * torch.randn(filters.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        net[3].weight[:, [0, 2]] *= torch.tensor([0.5, 0.1])
    task = task_of(net, data)
    whole = moved(task, data)
    with torch.no_grad():
        back = [task.symmetry.act_on_input(int(D4.inverse(g)), (whole,))[0] for g in range(8)]
        lifted = np.stack([net[:3](x).numpy() for x in back])  # (element, sample, channel)
        target = sum(net(x) for x in back).numpy() / 8
    stabilisers = Survey(task).offers({"1": 8})["1"].stabilisers
    columns = [coset_means(lifted[:, :, i], members) for i, members in enumerate(stabilisers)]
    assert [u.shape[1] for u in columns] == [4, 8, 1, 8, 8]
    for width in (8, 13, 21):
        offer = Survey(task).offers({"1": width})["1"]
        orbits, shares = greedy(columns, target, width)
        assert list(offer.chosen.orbits) == orbits
        assert np.allclose(offer.chosen.explained, shares, atol=1e-7)
        assert offer.width == sum(columns[o].shape[1] for o in orbits)
    largest = max(range(5), key=lambda o: explained(columns[o], target))
    assert orbits[0] != largest, "what counts is the gain per channel"


def coset_means(images: np.ndarray, members: np.ndarray) -> np.ndarray:
    """One column per coset of a stabiliser: the mean of the channel's images there."""
    h = np.flatnonzero(members)
    cosets = {tuple(sorted(D4.multiply(g, h).tolist())) for g in range(8)}
    return np.column_stack([images[list(c)].mean(0) for c in sorted(cosets)])


def test_planted_stabilisers_are_offered_as_small_orbits() -> None:
    net, data = perceptron(3), pictures()
    with torch.no_grad():
        filters = net[1].weight.view(3, SIDE, SIDE)
        filters[0] += filters[0].clone().flip(1)
        filters[1] = torch.tensor([[1.0, 2, 1], [2, -3, 2], [1, 2, 1]])
        filters += 1e-3 * torch.randn(filters.shape, dtype=torch.float64)
    task = task_of(net, data)
    offer = Survey(task).offers({"1": 13})["1"]
    assert offer.sizes.tolist() == [4, 1, 8]
    assert offer.coordinates(task).width == 13
    assert Survey(task, cosine=1 - 1e-9).offers({"1": 24})["1"].sizes.tolist() == [8, 8, 8]
    # A mirror is an element of its own: which one it is can be read off.
    assert int(offer.stabilisers[0].sum()) == 2 and bool(offer.stabilisers[0][0])


def test_a_channel_that_nobody_reads_is_never_chosen() -> None:
    net, data = perceptron(4), pictures(200)
    with torch.no_grad():
        net[3].weight[:, 2] = 0.0
    chosen = Survey(task_of(net, data)).offers({"1": 32})["1"].chosen
    assert sorted(chosen.orbits) == [0, 1, 3] and chosen.explained[-1] == pytest.approx(1.0, abs=1e-9)
    with torch.no_grad():
        net[3].weight[:, 2] = 1.0
    assert sorted(Survey(task_of(net, data)).offers({"1": 32})["1"].chosen.orbits) == [0, 1, 2, 3]


def deep() -> nn.Sequential:
    """The second channel of the first layer is read by the second one of the second layer alone, and that by nobody."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(2, 3),
    )  # fmt: skip
    double(net, seed=3)
    with torch.no_grad():
        net[6].weight[:, 1] = 0.0
        net[2].weight[0, 1] = 0.0
    return net


def test_what_only_an_unneeded_channel_reads_is_not_chosen_either() -> None:
    net, data = deep(), pictures(200)
    offers = Survey(task_of(net, data)).offers({"0": 16, "2": 8})
    assert offers["2"].chosen.orbits == (0,)
    assert offers["0"].chosen.orbits[0] == 0
    assert offers["0"].chosen.explained[0] == pytest.approx(1.0, abs=1e-6)
    with torch.no_grad():
        net[6].weight[:, 1], net[6].weight[:, 0] = net[6].weight[:, 0].clone(), 0.0
    other = Survey(task_of(net, data)).offers({"0": 16, "2": 8})
    assert other["2"].chosen.orbits == (1,)
    assert other["0"].chosen.explained[0] < 0.999 and set(other["0"].chosen.orbits) == {0, 1}


def test_refusals_say_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = perceptron(4), pictures()
    with pytest.raises(
        BudgetTooSmall, match=r"leaves 7 channels for 1, the smallest orbit there has 8(.|\n)*1.14 times"
    ):
        Survey(task_of(net, data)).offers({"1": 7})
    with pytest.raises(DataTooSmall, match=r"nothing varies(.|\n)*Nothing was rewritten"):
        Survey(task_of(net, torch.ones(4, 1, SIDE, SIDE, dtype=torch.float64))).offers({"1": 8})
    monkeypatch.setattr(survey, "WIDEST_CHOICE", 31)
    with pytest.raises(CannotRewrite, match=r"look at 32 columns, more than 31(.|\n)*Nothing was rewritten"):
        Survey(task_of(net, data)).offers({"1": 8})
