"""The drift of laws in real training: predicted to rounding where it can be, and named where it cannot."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from watched import (
    BALANCES,
    MATRICES,
    Convolutions,
    Heads,
    classes,
    columns,
    hidden,
    network,
    regression,
    train,
    watched,
)

import intertwiner as iw
from intertwiner.errors import InvalidRecord, NonFiniteWeights, WrongUse
from intertwiner.training import monitor as monitors
from intertwiner.training.drift import Drift
from intertwiner.training.history import History
from intertwiner.training.monitor import ConservationMonitor


def unexplained(monitor: ConservationMonitor) -> float:
    found = [drift.unexplained for drift in monitor.drift]
    assert None not in found
    return max(value for value in found if value is not None)


def worst(monitor: ConservationMonitor) -> float:
    return max(drift.worst for drift in monitor.drift)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.02, "dampening": 0.3},
        {"momentum": 0.5, "maximize": True, "lr": 0.001},
    ],
    ids=str,
)
@pytest.mark.parametrize("linear", [False, True])
def test_gradient_descent_drifts_as_predicted(linear: bool, settings: dict[str, Any]) -> None:
    monitor = watched(MATRICES if linear else BALANCES, activation=nn.Identity if linear else nn.ReLU, **settings)
    assert unexplained(monitor) < 1e-13 < 1e-6 < worst(monitor)


def test_what_is_no_law_does_not_drift_as_predicted() -> None:
    for laws, activation in (
        ((hidden(1, bias=False),), nn.ReLU),
        (BALANCES, nn.Tanh),
        ((hidden(2, "matrix"),), nn.ReLU),  # off the diagonal nothing is conserved behind ReLU
    ):
        assert unexplained(watched(laws, activation=activation)) > 1e-3


def test_the_drift_over_a_fixed_time_is_proportional_to_the_step() -> None:
    coarse, fine, finer = (worst(watched(lr=0.04 / k, steps=100 * k)) for k in (1, 2, 4))
    assert coarse / fine == pytest.approx(2, rel=0.05)
    assert fine / finer == pytest.approx(2, rel=0.03)


def test_under_adam_smaller_steps_do_not_help() -> None:
    coarse, fine = (watched(kind="Adam", lr=0.01 / k, steps=100 * k) for k in (1, 2))
    assert worst(coarse) / worst(fine) < 1.3
    assert worst(fine) > 0.01
    for drift in fine.drift:
        assert drift.predicted is None
        assert drift.unexplained is drift.predicted_worst is None
        assert "a step size of its own" in drift.note


@pytest.mark.parametrize(("laws", "task", "degree"), [(BALANCES, regression, 2), ((columns(),), classes, 1)])
def test_weight_decay_draws_laws_to_zero_exponentially(laws: Any, task: Any, degree: int) -> None:
    decay, time = 0.5, 2.0
    errors = []
    for lr in (0.02, 0.01):
        monitor = watched(laws, task=task(), lr=lr, steps=round(time / lr), weight_decay=decay)
        left = np.concatenate([drift.now for drift in monitor.drift])
        start = np.concatenate([drift.start for drift in monitor.drift])
        errors.append(np.abs(left - start * math.exp(-degree * decay * time)).max())
        assert all(f"exp(-{degree * decay:g} t)" in drift.note for drift in monitor.drift)
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)  # the limit of small steps


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.1, "dampening": 0.5}])
def test_linear_laws_hold_at_any_step_size(settings: dict[str, Any]) -> None:
    monitor = watched((columns(),), task=classes(), **settings)
    assert unexplained(monitor) < 1e-14
    assert (worst(monitor) < 1e-14) == ("weight_decay" not in settings)
    assert unexplained(watched((columns(),), task=regression(), **settings)) > 1e-3  # squared error sees the shift


def test_momentum_gathered_before_is_known() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01, dampening=0.2)
    train(model, optimizer, 20)
    monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)
    train(model, optimizer, 20, after=lambda _: monitor.step())
    assert unexplained(monitor) < 1e-13


def test_a_scheduler_may_run_before_the_monitor() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
    monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)

    def after(_: int) -> None:
        schedule.step()
        monitor.step()

    train(model, optimizer, 40, after=after)
    assert unexplained(monitor) < 1e-13
    assert [m.rate for m in monitor.moments[1:4]] == pytest.approx([0.1, 0.095, 0.09025])


def test_settings_may_change_while_it_trains() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)
    for settings in ({}, {"weight_decay": 0.1}, {"momentum": 0.8, "dampening": 0.1}, {"weight_decay": 0.0}):
        optimizer.param_groups[0].update(settings)
        train(model, optimizer, 15, after=lambda _: monitor.step())
        assert unexplained(monitor) < 1e-13
    assert all("momentum 0.8" in drift.note for drift in monitor.drift)


def test_clipped_gradients_and_skipped_steps_stay_predicted() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)
    x, loss = regression()
    for step in range(30):
        optimizer.zero_grad()
        loss(model(x)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        if step % 3:  # as a gradient scaler leaves out a step
            optimizer.step()
        monitor.step()
    assert unexplained(monitor) < 1e-13 < worst(monitor)


def test_every_other_step_gives_an_estimate() -> None:
    monitor = watched(watch={"every": 4}, steps=400, lr=0.01)
    for drift in monitor.drift:
        assert drift.sampled
        assert drift.predicted_worst == pytest.approx(drift.worst, rel=0.2)
    assert "about" in str(monitor)
    assert [m.step for m in monitor.moments][:3] in ([0, 4, 8], [0, 8, 16])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"momentum": 0.9, "watch": {"every": 2}}, "only where every step is looked at"),
        ({"momentum": 0.9, "nesterov": True}, "Nesterov"),
        ({"kind": "ASGD"}, "what ASGD does to a law is not known here"),
        ({"kind": "AdamW", "weight_decay": 0.1}, "AdamW gives every coordinate.*weight decay breaks it besides"),
    ],
)
def test_what_is_not_predicted_is_said(settings: dict[str, Any], why: str) -> None:
    monitor = watched(steps=5, **settings)
    for drift in monitor.drift:
        assert drift.predicted is None
        assert re.search(why, drift.note)
    assert why.split()[0] in str(monitor)


def test_parameter_groups_that_break_a_law_are_named() -> None:
    for groups, why in (
        (({"lr": 0.1}, {"lr": 0.2}), "different step sizes"),
        (({"weight_decay": 0.1}, {"weight_decay": 0.0}), "weight decay 0 and 0.1"),
        (({}, None), "does not step all of its parameters"),
    ):
        model = network()
        kept = [
            {"params": layer.parameters(), **group}
            for layer, group in zip((nn.Sequential(*model[:2]), nn.Sequential(*model[2:])), groups, strict=True)
            if group is not None
        ]
        optimizer = torch.optim.SGD(kept, lr=0.1)
        monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)
        train(model, optimizer, 10, after=lambda _, m=monitor: m.step())
        broken, other = monitor.drift
        assert why in broken.note
        assert broken.predicted is None
        if "lr" in (groups[0] or {}) or groups[1] is not None:
            assert other.unexplained is not None  # both layers of it are in one group
            assert other.unexplained < 1e-13


def test_gradients_that_are_gone_are_missed() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)

    def after(_: int) -> None:
        optimizer.zero_grad()
        monitor.step()

    train(model, optimizer, 2, after=after)
    assert all("before zero_grad()" in drift.note and drift.predicted is None for drift in monitor.drift)


def test_without_an_optimiser_the_rate_may_be_given() -> None:
    for rate in (0.05, None):
        model = network()
        monitor = ConservationMonitor(model, BALANCES)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        train(model, optimizer, 20, after=lambda _, m=monitor, r=rate: m.step(r))
        assert worst(monitor) > 1e-6
        if rate:
            assert unexplained(monitor) < 1e-13
        else:
            assert {drift.note for drift in monitor.drift} == {"no optimiser was handed over: measured only"}


def test_memory_does_not_grow_with_the_steps() -> None:
    monitor = watched(steps=700, watch={"history": 16})
    steps = [m.step for m in monitor.moments]
    assert steps == list(range(0, 701, 64))
    assert sum(v.nbytes for m in monitor.moments for v in m.values) == 11 * 9 * 8
    assert all(np.array_equal(a, b) for a, b in zip(monitor.moments[0].values, [d.start for d in monitor.drift]))


def test_many_laws_are_kept_less_often_and_not_written_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "NUMBERS", 2 * 9 * 20)
    assert len(watched(steps=60).moments) == 16  # every fourth step, from 0
    monkeypatch.setattr(monitors, "NUMBERS", 1)
    assert len(watched(steps=60).moments) == 8
    monkeypatch.setattr(monitors, "WRITTEN", 8)
    (first, _) = watched(steps=3).to_json()["drift"]
    assert "start" not in first
    assert first["count"] == 5


@given(st.integers(2, 9), st.integers(0, 300))
def test_a_history_is_evenly_spaced_and_bounded(capacity: int, last: int) -> None:
    history: History[int] = History(capacity)
    for step in range(last + 1):
        if history.wants(step):
            history.add(step, step)
    steps = [entry.step for entry in history]
    assert steps == list(range(0, steps[-1] + 1, history.stride))
    assert len(history) <= capacity
    assert last - steps[-1] < history.stride
    assert len(history) > min(last, capacity // 2 - 1)


def test_a_run_that_diverges_is_said_to() -> None:
    monitor = watched(lr=1e6, steps=40)
    assert monitor.broke_at is not None
    assert f"NaN or infinity at step {monitor.broke_at}" in str(monitor)
    json.dumps(monitor.to_json())


def test_the_record_is_plain_and_drifts_are_read_back() -> None:
    for kind in ("SGD", "Adam"):
        monitor = watched(kind=kind, steps=30)
        record = json.loads(json.dumps(monitor.to_json(), allow_nan=False))
        assert record["optimizer"] == kind
        assert record["history"]["steps"] == list(range(31))
        for drift, written, curve in zip(monitor.drift, record["drift"], record["history"]["families"], strict=True):
            again = Drift.from_json(written)
            assert again.to_json() == drift.to_json() == written
            assert curve["measured"][-1] == pytest.approx(drift.worst)
            assert curve["predicted"][0] == 0
    with pytest.raises(InvalidRecord, match=r"missing: scale\. Nothing was read"):
        Drift.from_json({name: value for name, value in written.items() if name != "scale"})


def test_the_table_has_every_family() -> None:
    text = str(watched(steps=10, weight_decay=0.1))
    assert text.startswith("drift of 9 conservation laws after 10 steps")
    assert "|0.weight[i]|^2" in text
    assert "all: weight decay 0.1" in text


def test_the_hook_can_be_taken_off() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = ConservationMonitor(model, BALANCES, optimizer=optimizer)
    before = len(optimizer._optimizer_step_pre_hooks)
    monitor.close()
    assert len(optimizer._optimizer_step_pre_hooks) == before - 1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: ConservationMonitor(m, BALANCES, every=0), WrongUse, "at least 1"),
        (lambda m: ConservationMonitor(m, BALANCES, history=1), WrongUse, "at least 2"),
        (lambda m: ConservationMonitor(m, []), WrongUse, "with none"),
        (lambda m: ConservationMonitor(m, 3), WrongUse, "got int"),
        (lambda m: ConservationMonitor(m[:2], BALANCES), WrongUse, "2.weight.*Usual cause: laws of another network"),
        (lambda m: ConservationMonitor(m, BALANCES, optimizer="SGD"), WrongUse, "reads torch optimisers, got str"),
        (lambda m: ConservationMonitor(m.fill_(), BALANCES), NonFiniteWeights, "before the first step"),
    ],
)
def test_bad_input_is_refused(call: Any, error: type[Exception], words: str) -> None:
    class Network(nn.Sequential):
        def fill_(self) -> Network:
            nn.init.constant_(self[0].weight, math.nan)
            return self

    with pytest.raises(error, match=f"(?s){words}.*Nothing was computed"):
        call(Network(*network()))


def test_the_figure_has_a_line_for_every_law() -> None:
    pytest.importorskip("matplotlib", reason="the extra `viz` is not installed")
    figure = watched(steps=50).plot()
    drift, rate = figure.axes
    assert len(drift.lines) == 9 + 2 + 2
    assert drift.get_yscale() == "log"
    assert list(rate.lines[0].get_ydata()[1:]) == [0.05] * 50


def test_without_matplotlib_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(WrongUse, match=r"pip install 'intertwiner\[viz\]'"):
        watched(steps=2).plot()


@pytest.mark.parametrize(("kind", "shape", "families"), [(Convolutions, (8, 2, 10, 10), 4), (Heads, (8, 5, 4), 3)])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}], ids=str)
def test_laws_found_in_real_layers_drift_as_predicted(
    kind: type[nn.Module], shape: tuple[int, ...], families: int, settings: dict[str, float]
) -> None:
    torch.manual_seed(2)
    model = kind().double()
    x, labels = torch.randn(shape).double(), torch.randint(0, 3, shape[:1])
    laws = iw.conservation_laws(model, "cross_entropy", example=x, count=False)
    assert len(laws.families) >= families
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    monitor = iw.ConservationMonitor(model, laws, optimizer=optimizer)
    task = (x, lambda out: nn.functional.cross_entropy(out, labels))
    train(model, optimizer, 25, task=task, after=lambda _: monitor.step())
    for family, drift in zip(laws.families, monitor.drift, strict=True):
        assert drift.unexplained is not None
        if family.exact:
            assert drift.unexplained < 1e-13, drift.formula
        else:
            assert 1e-13 < drift.unexplained < 1e-2
            assert drift.note.startswith("holds only up to")
    assert worst(monitor) > 1e-6
