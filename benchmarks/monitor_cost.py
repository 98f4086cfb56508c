"""What a ``ConservationMonitor`` adds to a training step, timed within one run: part of ``conservation_laws.py``."""

from __future__ import annotations

import time

import torch
from torch import nn

from intertwiner.numerics.tolerance import ABOVE_NOISE
from intertwiner.report.figures import Claim
from intertwiner.training.conservation import conservation_laws
from intertwiner.training.monitor import ConservationMonitor

WIDTHS = (512, 640, 640, 400)
BATCH = 256
SHARE = 0.05
THINNED = 8


def watched(every: int, steps: int) -> tuple[ConservationMonitor, float, float]:
    """Plain gradient descent of a ReLU network with a million parameters: seconds of training, and of watching."""
    torch.manual_seed(0)
    a, b, c, d = WIDTHS
    model = nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, d))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = torch.randn(BATCH, a), torch.randint(0, d, (BATCH,))
    laws = conservation_laws(model, loss="cross_entropy", example=x[:1], count=False)
    monitor = ConservationMonitor(model, laws, optimizer=optimizer, every=every)
    training = watching = 0.0
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        middle = time.perf_counter()
        monitor.step()
        training, watching = training + middle - start, watching + time.perf_counter() - middle
    return monitor, training, watching


def claims(quick: bool) -> list[Claim]:
    """The share of a step where every eighth is looked at, the same where every one is, and how exact that is."""
    out = []
    # The single laws are read at moments that get rarer, so a short run overstates what a long one pays.
    for every, bound, steps in ((THINNED, SHARE, 3000), (1, None, 1000)):
        monitor, training, watching = watched(every, 100 if quick else steps)
        print(monitor)
        size = sum(drift.count for drift in monitor.drift)
        step, look = (1e3 * seconds / monitor.steps for seconds in (training, watching))
        note = f"{step:.2f} ms a step, {look:.2f} ms for {size} laws, over {monitor.steps} steps"
        name = f"monitor, a million parameters, batch {BATCH}, every={every}: share of a training step"
        out.append(Claim(name, watching / training, None if quick else bound, "<=", note=note))
        if every == 1:
            left = max(drift.unexplained or 0.0 for drift in monitor.drift)
            floor = max(drift.floor for drift in monitor.drift)
            name = "monitor, every=1: drift that is not predicted, over rounding"
            out.append(Claim(name, left / floor, ABOVE_NOISE, "<=", note=f"rounding {floor:.1e} of the size of a law"))
    return out
