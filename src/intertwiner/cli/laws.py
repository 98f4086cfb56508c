"""``intertwiner laws``: what gradient flow of a network conserves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli.audit import cannot_write, require_folder
from intertwiner.cli.code import code_of
from intertwiner.cli.exits import PROVED, UNDECIDED, say
from intertwiner.cli.identify import show
from intertwiner.cli.subject import Words, open_network, read_symmetry
from intertwiner.errors import WrongUse

if TYPE_CHECKING:
    from torch import nn

    from intertwiner.symmetry import Symmetry
    from intertwiner.training import ConservationLaws, PolynomialLaws

ANY = "any"
"""A loss of which nothing is assumed."""

VALUES = 10_000
"""Most laws whose values stand in the report."""


@dataclass(frozen=True)
class Laws:
    """What is asked, as the options of ``intertwiner laws`` say it."""

    words: Words
    widths: str | None = None
    activation: str = "relu"
    bias: bool = False
    loss: str = "mse"
    training: bool = True
    count: bool | None = None
    seed: int = 0
    out: Path | None = None
    as_json: bool = False
    group: str | None = None
    on_input: tuple[str, ...] = ()
    on_output: tuple[str, ...] = ()
    subgroup: str | None = None
    degree: int | None = None

    @property
    def symmetry(self) -> Symmetry | None:
        """Of the data, where one is spelt.

        Raises:
            WrongUse: One of --group, --input and --output without the others.
        """
        if self.group is None and not self.on_input and not self.on_output and self.subgroup is None:
            return None
        if self.group is None or not self.on_input or not self.on_output:
            raise WrongUse(
                "symmetric data are spelt by --group, --input and --output together, as for audit. Nothing was "
                "computed."
            )
        return read_symmetry(self.group, self.on_input, self.on_output, self.subgroup)


def run_laws(wish: Laws) -> int:
    """Print the laws; 0 where their number is proved, 2 where it is open."""
    from intertwiner.report.laws_page import write_laws

    require_folder(wish.out)
    if bool(wish.words.model) == (wish.widths is not None):
        raise WrongUse("laws takes a MODEL or --widths, one of the two. Nothing was computed.")
    polynomials = _polynomials(wish)
    found, state = _of_widths(wish) if wish.widths is not None else _of_model(wish)
    record = found.to_json() | ({} if polynomials is None else {"polynomials": polynomials.to_json()})
    if wish.out is not None:
        values = [v.tolist() for v in found.values(state)] if found.listed <= VALUES else []
        try:
            written = write_laws(record | {"values": values}, wish.out)
        except OSError as error:
            raise cannot_write(wish.out, error) from error
        say(f"written: {', '.join(str(path) for path in written)}")
    show(record, str(found) if polynomials is None else f"{found}\n\n{polynomials}", wish.as_json)
    return PROVED if found.verdict.is_proved else UNDECIDED


def _loss(name: str) -> Any:
    def any_loss(outputs: Any) -> Any:
        """Stands for every smooth function."""
        return outputs

    return any_loss if name == ANY else name


def _of_model(wish: Laws) -> tuple[ConservationLaws, Any]:
    from intertwiner.training import conservation_laws

    words = wish.words
    with code_of([words.model, wish.group or "", *wish.on_input, *wish.on_output, *words.data]):
        opened = open_network(words, any_mode=True)
        network = opened.network
        found = conservation_laws(
            network if opened.model is None else opened.model, _loss(wish.loss), wish.symmetry,
            example=network.example,
            training=wish.training, count=wish.count, seed=wish.seed,
        )  # fmt: skip
    return found, network


def _of_widths(wish: Laws) -> tuple[ConservationLaws, Any]:
    import torch

    from intertwiner.training import conservation_laws

    widths = _whole(wish.widths or "")
    torch.manual_seed(wish.seed)
    model = chain_module(widths, wish.activation, wish.bias)
    with code_of([wish.group or "", *wish.on_input, *wish.on_output]):
        found = conservation_laws(
            model, _loss(wish.loss), wish.symmetry, example=torch.zeros(2, widths[0]), training=wish.training,
            count=wish.count, seed=wish.seed,
        )  # fmt: skip
    return found, model


def _polynomials(wish: Laws) -> PolynomialLaws | None:
    """All conserved polynomials up to ``--degree``, where it is given."""
    if wish.degree is None:
        return None
    if wish.widths is None or (wish.activation not in ("relu", "linear") and not wish.activation.startswith("t^")):
        raise WrongUse(
            "--degree writes out all conserved polynomials of small networks: give --widths, with relu, linear or a "
            "power as --activation. Nothing was computed."
        )
    from intertwiner.training import Chain, PolynomialChain, chain_map, polynomial_laws, separated

    widths = tuple(_whole(wish.widths))
    if wish.activation in ("relu", "linear"):
        phi = chain_map(Chain(widths, wish.activation, wish.bias))
    else:
        phi = separated(PolynomialChain(widths, wish.activation, wish.bias)).phi
    return polynomial_laws(phi, wish.degree, seed=wish.seed)


def _whole(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise WrongUse(
            f"--widths {text}: at least two whole numbers of at least 1, as in 4,8,8,2. Nothing was computed."
        )
    return [int(part) for part in parts]


def chain_module(widths: list[int], activation: str, bias: bool) -> nn.Module:
    """A fully connected network with random weights.

    Raises:
        WrongUse: An activation that torch does not have by that name, and that is no power.

    Example:
        >>> chain_module([2, 3, 1], "t^2", bias=True)(__import__("torch").ones(1, 2)).shape
        torch.Size([1, 1])
    """
    from torch import nn

    class Power(nn.Module):
        """``t^r``."""

        def __init__(self, exponent: int) -> None:
            super().__init__()
            self.exponent = exponent

        def forward(self, x: Any) -> Any:
            return x**self.exponent

    known: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU,
        "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "linear": nn.Identity,
    }  # fmt: skip
    power = activation.removeprefix("t^")
    if activation not in known and not (activation.startswith("t^") and power.isdecimal() and 1 < int(power) < 100):
        raise WrongUse(
            f"--activation {activation}: choose among {', '.join(known)}, or a power as in t^2. Nothing was computed."
        )
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [known[activation]() if activation in known else Power(int(power))] if layers else []
        layers.append(nn.Linear(fan_in, fan_out, bias=bias))
    return nn.Sequential(*layers)
