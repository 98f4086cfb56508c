"""Small networks that come with the library, each with its symmetry, its data and what an audit should find.

Weights are safetensors beside this file; data are enumerated or drawn from a seed. ``scripts/train_bundled/`` made the
weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from intertwiner.bundled.catalogue import CATALOGUE
from intertwiner.bundled.data import noise, teacher_labels
from intertwiner.errors import WrongUse
from intertwiner.symmetry import Symmetry

__all__ = ["Bundled", "load", "names", "noise", "symmetry_of", "teacher_labels"]


@dataclass(frozen=True, eq=False, repr=False)
class Bundled:
    """A bundled network, ready to be audited.

    Args:
        name: Its name, as ``load`` takes it.
        module: The network in evaluation mode, float32.
        symmetry: The group and its actions on input and output.
        data: All inputs as one tensor.
        labels: One label per input: a class, or the value to predict where the network has one output. None where the
            network was built rather than trained.
        description: What it is and what an audit should find.
    """

    name: str
    module: nn.Module
    symmetry: Symmetry
    data: Tensor
    labels: Tensor | None
    description: str

    def batches(self, size: int = 256) -> Iterator[Tensor]:
        """The data in batches, in order; the last one may be smaller."""
        yield from self.data.split(size)

    def accuracy(self) -> float | None:
        """Share of right answers on the data: the largest logit, or the rounded value; None without labels."""
        if self.labels is None:
            return None
        with torch.no_grad():
            out = torch.cat([self.module(batch) for batch in self.batches(1024)])
        answer = out.squeeze(1).round() if out.shape[1] == 1 else out.argmax(1)
        return (answer == self.labels).double().mean().item()

    def __repr__(self) -> str:
        return f"Bundled({self.name!r}: {self.symmetry.group.name}, {len(self.data)} inputs)"


def names() -> tuple[str, ...]:
    """The names that ``load`` takes.

    >>> names()[0]
    'tictactoe-tanh'
    """
    return tuple(CATALOGUE)


def symmetry_of(name: str) -> Symmetry:
    """The symmetry of a bundled network, without its weights and data."""
    _check(name)
    return CATALOGUE[name].symmetry()


def load(name: str) -> Bundled:
    """A bundled network by name.

    Args:
        name: One of ``names()``.

    Raises:
        WrongUse: There is no network of that name.

    Example:
        >>> load("planted-tanh-d4")
        Bundled('planted-tanh-d4': D4, 1024 inputs)
    """
    _check(name)
    entry = CATALOGUE[name]
    module = entry.build()
    file = resources.files(__name__) / "weights" / f"{name}.safetensors"
    module.load_state_dict(load_safetensors(file.read_bytes()))
    inputs, labels = entry.data()
    return Bundled(name, module.eval(), entry.symmetry(), inputs, labels, entry.description)


def _check(name: str) -> None:
    if name not in CATALOGUE:
        raise WrongUse(f"there is no bundled network '{name}'; there are {', '.join(CATALOGUE)}")
