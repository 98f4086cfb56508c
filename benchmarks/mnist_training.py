"""The originals of ``rewrite_mnist.py``: plain networks trained on MNIST with every image moved by a random element.

Nothing in them knows about the group but the augmentation. ``conv`` is 1-32-64-64-10 with 3 x 3 convolutions, two
2 x 2 poolings and a mean over the grid; ``mlp`` is 784-512-512-10. AdamW with one cosine cycle; the steps are the same
for every network of one kind, so that a network trained from scratch can be given any number of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from intertwiner.algebra import Group, cyclic, dihedral
from intertwiner.symmetry import Symmetry, image, invariant

BATCH, DECAY = 256, 1e-2
RATE = {"conv": 1e-2, "mlp": 2e-3}
MEAN, SCALE = 0.1307, 0.3081
EPOCHS = {"conv": 20, "mlp": 10}


def conv() -> nn.Module:
    """With batch norm while it is trained; `fused` afterwards."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def fused(module: nn.Module) -> nn.Module:
    """The same function without batch norm: folded into the convolutions."""
    layers = list(module.children())
    out = []
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            out.append(fuse_conv_bn_eval(layer.eval(), following.eval()))
        elif not isinstance(layer, nn.BatchNorm2d):
            out.append(layer)
    return nn.Sequential(*out).eval()


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )


BUILD: dict[str, Callable[[], nn.Module]] = {"conv": conv, "mlp": mlp}


def half_turn() -> tuple[Group, Symmetry]:
    """C2: the image turned by 180 degrees."""
    group = cyclic(2)
    return group, Symmetry(group, on_input=image(group), on_output=invariant())


def square() -> tuple[Group, Symmetry]:
    """D4: quarter turns and reflections."""
    group = dihedral(4)
    return group, Symmetry(group, on_input=image(group), on_output=invariant())


SYMMETRIES = {"D4": square, "C2": half_turn}


def moves(name: str) -> list[Callable[[Tensor], Tensor]]:
    """Every element of the group on images, by flips and quarter turns."""
    turn = [lambda x, k=k: torch.rot90(x, k, (-2, -1)) for k in ((0, 2) if name == "C2" else range(4))]
    return turn if name == "C2" else [*turn, *(lambda x, t=t: t(x.flip(-1)) for t in turn)]


def images(data: Path) -> dict[str, Tensor]:
    """Training and test images, normalised, with their labels."""
    with np.load(data / "mnist.npz") as file:
        out = {name: torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")}
    for name in ("x_train", "x_test"):
        out[name] = ((out[name].float() / 255 - MEAN) / SCALE)[:, None]
    return {name: value.long() if name.startswith("y") else value for name, value in out.items()}


def batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Whole batches of a shuffled epoch, without end."""
    while True:
        yield from torch.randperm(count, generator=generator)[: count // BATCH * BATCH].split(BATCH)


def train(
    module: nn.Module, data: dict[str, Tensor], group: str, steps: int, *, rate: float, seed: int, augment: bool = True
) -> nn.Module:
    """Cross entropy with one cosine cycle over ``steps``; moved images where ``augment``."""
    generator = torch.Generator().manual_seed(seed)
    rng, elements = np.random.default_rng(seed), moves(group)
    optimiser = torch.optim.AdamW(module.parameters(), rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    stream = batches(len(data["x_train"]), generator)
    module.train()
    for _ in range(steps):
        chosen = next(stream)
        x = data["x_train"][chosen]
        if augment:
            # Every sample an element of its own, as a handful of moved sub-batches.
            cut = np.sort(rng.integers(0, BATCH, len(elements) - 1)).tolist()
            x = torch.cat([e(p) for e, p in zip(elements, x.tensor_split(cut), strict=True)])
        loss = nn.functional.cross_entropy(module(x), data["y_train"][chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return module.eval()


def original(
    kind: str, group: str, data: dict[str, Tensor], folder: Path | None, epochs: int | None = None
) -> nn.Module:
    """A trained original, read from ``folder`` where it lies there already, else trained and kept there."""
    torch.manual_seed(0)
    module = BUILD[kind]()
    path = None if folder is None else folder / f"{kind}-{group}.pt"
    if path is not None and path.exists():
        module = fused(module)
        module.load_state_dict(torch.load(path, weights_only=True))
        return module
    start = time.perf_counter()
    steps = (EPOCHS[kind] if epochs is None else epochs) * (len(data["x_train"]) // BATCH)
    module = fused(train(module, data, group, steps, rate=RATE[kind], seed=0))
    print(f"trained {kind} for {group} in {time.perf_counter() - start:.0f} s", flush=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), path)
    return module
