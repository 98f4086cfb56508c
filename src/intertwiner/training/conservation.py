r"""``conservation_laws``: what gradient flow of a network conserves, from its graph alone.

Charges give the quadratic laws (``charges``, ``gauge_laws``), constants that nothing sees the linear ones
(``shift_laws``). Every law is tried on a random gradient (``law_check``), and the number of independent ones is
enclosed where the network is small enough (``counts``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.errors import NonFiniteWeights, NoRule, WrongUse
from intertwiner.exact import Columns, trainable_names
from intertwiner.network import Identity, Input, Linear, Network, Output, PointwiseOp, Reshape, trace
from intertwiner.numerics.modular import PRIMES
from intertwiner.training.chain import Chain
from intertwiner.training.chain_counts import certain_laws, count_laws
from intertwiner.training.charge_rules import charges_of
from intertwiner.training.charges import Charges
from intertwiner.training.conservation_record import ConservationLaws, verdict_on
from intertwiner.training.counts import DEPTH, Certain, ConservationCount
from intertwiner.training.families import Family
from intertwiner.training.gauge_laws import gauge_families
from intertwiner.training.law_check import Inputs, check_families, random_inputs
from intertwiner.training.lowering import lower
from intertwiner.training.network_counts import count_laws_of, estimate
from intertwiner.training.polynomial_chain import PolynomialChain
from intertwiner.training.rank_at import LocalRank, rank_at
from intertwiner.training.shift_laws import shift_families
from intertwiner.training.summand_laws import summand_families
from intertwiner.training.symmetric_laws import Actions, Measured, power_of, symmetric_laws

LOSSES = {"mse": "mean squared error", "cross_entropy": "cross entropy"}
MODULES: dict[type[nn.Module], str] = {nn.MSELoss: "mse", nn.CrossEntropyLoss: "cross_entropy"}

QUICK = 30.0
"""Seconds that a count may take without being asked for."""

PROMPT = 12
"""How much sooner than estimated a count ends where the laws listed are all and the first brackets show it."""

FIRST = 2
"""Depth of a count that was not asked for and may be long: with one prime it proves as much where it ends well."""

Loss = str | nn.Module | Callable[..., Any]


def conservation_laws(
    model: nn.Module | Network,
    loss: Loss = "mse",
    symmetry: Actions | None = None,
    *,
    data: Tensor | Sequence[Tensor] | None = None,
    targets: Tensor | None = None,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = True,
    count: bool | None = None,
    check: bool = True,
    seed: int = 0,
) -> ConservationLaws:
    """Find the functions of the parameters that plain gradient flow leaves alone.

    Args:
        model: A module, in either mode, or a traced network.
        loss: ``"mse"``, ``"cross_entropy"``, a loss module, or any function of the outputs, of which nothing is
            assumed but that it is smooth.
        symmetry: Of the data: a symmetry, or its representations on inputs and outputs. What full orbits of equal
            weight conserve besides is counted for squared error on fully connected networks, linear or with a power
            between the layers; for others the record says why that is open.
        data: Inputs. Only their shapes matter, but with a symmetry and ``targets``, where there is one input per orbit.
        targets: For every orbit its target: where nothing can be counted, whether the orbits show the loss all
            directions is measured at the weights.
        example: One batch of inputs, where there are no data.
        kwargs: Keyword arguments of the call.
        training: Whether batch norm and dropout are in training mode while the network trains.
        count: Whether to enclose the number of independent laws; by default where it takes about half a minute
            at most; where only a first pass does, the count may leave both bounds, and ``count=True`` goes on.
        check: Whether to try every law on a random gradient.
        seed: Of everything random.

    Returns:
        The laws by gauge group, their number, and what was assumed.

    Raises:
        WrongUse: A loss that is none, no example, or nothing to train.
        NonFiniteWeights, CannotTrace, DataMismatch: As for ``trace``.
        Contradiction: A bug in the library: a law is not conserved.

    Cost:
        One trace, one pass over arrays of the size of the activations, one gradient in float64; the count as said
        there.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> found = conservation_laws(net, example=torch.zeros(2, 2))
        >>> print(found.families[0].formula)
        |0.weight[i]|^2 + 0.bias[i]^2 - |2.weight[:, i]|^2
        >>> found.count.laws, found.verdict.kind
        (3, <Kind.PROVED: 'PROVED'>)
    """
    name, words = read_loss(loss)
    if seed < 0:
        raise WrongUse(f"a seed is a whole number of at least 0, got {seed}. Nothing was computed.")
    network, arguments = _traced(model, data if example is None else example, kwargs)
    names = _names(model, network)
    _refuse_nonfinite(network, names)
    shapes = {one: tuple(network.state[held].shape) for held, one in names.items()}
    charges = charges_of(network, names, training=training, loss=name)
    found = [rule(charges, shapes) for rule in (gauge_families, shift_families, summand_families)]
    families = tuple(family for part in found for family in part)
    rates, unchecked = (), "not asked for"
    if check:
        rates, unchecked = check_families(
            model, families, random_inputs(arguments, network.batch_size, seed),
            classes=charges.classes, training=training, seed=seed,
        )  # fmt: skip
    chain = as_chain(network, names)
    counted, uncounted, local = _count(charges, families, chain, wanted=count, seed=seed)
    total = sum(prod(shape) for shape in shapes.values())
    extra = None
    if symmetry is not None:
        module = model if isinstance(model, nn.Module) else None
        measured = Measured(module, data if isinstance(data, Tensor) else None, targets, _callable(loss))
        extra = symmetric_laws(network, chain, symmetry, name, measured=measured, seed=seed)
    scope = "on any data under cross entropy" if name == "cross_entropy" else "whatever data and loss"
    verdict = verdict_on(network.name, families, counted, uncounted, scope=scope)
    lost = tuple(dict.fromkeys(charges.lost))
    return ConservationLaws(
        network.name, total, families, words, training, _assumed(network, name, words, training), lost, rates,
        unchecked, counted, uncounted, local, extra, verdict,
    )  # fmt: skip


def read_loss(loss: Loss) -> tuple[str, str]:
    """Which of the known losses it is ("" for another), and what to call it.

    Raises:
        WrongUse: A string that names no loss, or something that is none.

    Example:
        >>> read_loss("mse"), read_loss(nn.CrossEntropyLoss()), read_loss(torch.nn.functional.l1_loss)
        (('mse', 'mean squared error'), ('cross_entropy', 'cross entropy'), ('', 'l1_loss'))
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise WrongUse(
                f"the losses that are known by name are {', '.join(LOSSES)}, got {loss!r}. Next step: hand over any "
                "other loss as a function; nothing is assumed of it but that it is smooth. Nothing was computed."
            )
        return loss, LOSSES[loss]
    for kind, known in MODULES.items():
        if type(loss) is kind:
            return known, LOSSES[known]
    if not callable(loss):
        raise WrongUse(f"a loss is a name, a module or a function, got {type(loss).__name__}. Nothing was computed.")
    return "", getattr(loss, "__name__", type(loss).__name__)


def _callable(loss: Loss) -> Callable[..., Any]:
    """The loss as a function of outputs and targets."""
    known: dict[str, Callable[..., Any]] = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}
    return known[loss] if isinstance(loss, str) else loss


def _traced(model: nn.Module | Network, example: Any, kwargs: Mapping[str, Any] | None) -> tuple[Network, Inputs]:
    """The network, traced in evaluation mode on two samples, and the arguments it was traced on."""
    if isinstance(model, Network):
        return model, (model.example, {})
    if not isinstance(model, nn.Module):
        raise WrongUse(f"conservation_laws takes a torch.nn.Module or a Network, got {type(model).__name__}")
    if example is None and not kwargs:
        raise WrongUse(
            "conservation_laws traces the model and needs the shape of its inputs: give data=, or example= with one "
            "batch. Nothing was computed."
        )
    args = () if example is None else tuple(example) if isinstance(example, (tuple, list)) else (example,)
    args = tuple(_few(x) for x in args)
    with _evaluating(model):
        network = trace(model, args, kwargs=kwargs)
    return network, (args, dict(kwargs or {}))


def _few(x: Any) -> Any:
    return x[:2] if isinstance(x, Tensor) and x.ndim and x.shape[0] > 2 else x


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module has its own mode back afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _names(model: nn.Module | Network, network: Network) -> dict[str, str]:
    """State_dict names of everything that moves, each with the one name that it goes by."""
    state = network.state
    if isinstance(model, nn.Module):
        first: dict[int, str] = {}
        moving = ((n, p) for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad)
        names = {name: first.setdefault(id(p), name) for name, p in moving}
        names = {name: one for name, one in names.items() if name in state}
    else:
        held: dict[tuple[int, torch.Size], str] = {}
        moved = sorted(trainable_names(network))
        names = {name: held.setdefault((state[name].data_ptr(), state[name].shape), name) for name in moved}
    if not names:
        raise WrongUse(
            f"{network.name} has no parameter that training moves. Usual cause: requires_grad is False everywhere. "
            "Nothing was computed."
        )
    return names


def _refuse_nonfinite(network: Network, names: Mapping[str, str]) -> None:
    """A traced network may have been filled with anything since."""
    for name in names:
        if not bool(torch.isfinite(network.state[name]).all()):
            raise NonFiniteWeights(
                f"{name!r} has entries that are NaN or infinite. Usual cause: training diverged. Nothing was computed."
            )


def as_chain(network: Network, names: Mapping[str, str]) -> Chain | PolynomialChain | None:
    """The network as a chain of linear layers, with ReLU or one power between; None otherwise, or a part is frozen."""
    widths: list[int] = []
    between: list[str] = []
    biases: set[bool] = set()
    used: list[str] = []
    for node in network.nodes:
        op = node.op
        if isinstance(op, (Input, Output, Identity, Reshape)):
            continue
        if isinstance(op, PointwiseOp) and widths:
            between.append(op.pointwise.name)
            continue
        if not isinstance(op, Linear) or any(p.places is not None or p.name not in names for p in op.params):
            return None
        between += ["linear"] * (bool(widths) and len(between) < len(used))
        widths += [op.weight.shape[1]] if not widths else []
        widths.append(op.weight.shape[0])
        biases.add(op.bias is not None)
        used.append(names[op.weight.name])
    kinds = set(between)
    simple = len(widths) > 1 and len(network.nodes) >= len(widths) and all(len(n.inputs) < 2 for n in network.nodes)
    single = all(len(n.users) < 2 for n in network.nodes) and len(set(used)) == len(used)
    if not simple or not single or len(biases) != 1 or len(between) != len(used) - 1 or len(kinds) > 1:
        return None
    kind, bias = kinds.pop() if kinds else "linear", biases.pop()
    if kind in ("relu", "linear"):
        return Chain(tuple(widths), kind, bias)
    power = power_of(kind)
    return None if power is None else PolynomialChain(tuple(widths), f"t^{power}", bias)


def _count(
    charges: Charges,
    families: Sequence[Family],
    chain: Chain | PolynomialChain | None,
    *,
    wanted: bool | None,
    seed: int,
) -> tuple[ConservationCount | None, str, LocalRank | None]:
    """The number of independent laws, or why there is none; and the rank of the brackets at the weights themselves."""
    if wanted is False:
        return None, "not asked for", None
    if charges.classes not in (None, 1):
        return (
            None,
            f"cross entropy takes classes on axis 1 to be counted, here they stand on axis {charges.classes}",
            None,
        )
    loss = "any" if charges.classes is None else "cross_entropy"
    try:
        if isinstance(chain, Chain) and loss == "any":
            counted = count_laws(chain.widths, chain.activation, bias=chain.bias, seed=seed)
            return counted, "", rank_at(chain, _weights(charges.network), certain_laws(chain), seed=seed)
        network, exact = charges.network, [f for f in families if f.exact]
        lowered = lower(network, trainable=tuple(charges.names), batch_statistics=charges.training, loss=loss)
        seconds, _ = estimate(lowered.circuit, len(PRIMES))
        quick = wanted is None and seconds > QUICK
        if quick and seconds > PROMPT * QUICK:
            return (
                None,
                f"it would take {seconds / PROMPT:.0f} to {seconds:.0f} s; count=True counts all the same",
                None,
            )
        columns = _renamed(lowered.columns, charges.names)
        laws = Certain(
            lambda theta, field: np.concatenate(
                [np.zeros((0, len(theta))), *(f.gradients(theta, columns, field) for f in exact)]
            ),
            [f.formula for f in exact for _ in range(f.count)],
        )
        depth, primes = (FIRST, PRIMES[:1]) if quick else (DEPTH, PRIMES)
        counted = count_laws_of(lowered, laws, depth=depth, primes=primes, seed=seed)
        local = rank_at(lowered, None, laws, depth=depth, primes=primes, seed=seed) if wanted or not quick else None
        return counted, "", local
    except (NoRule, WrongUse) as error:
        return None, str(error), None


def _weights(network: Network) -> Float[ndarray, " D"]:
    """The weights of a chain in the order of its parameters."""
    layers = [node.op for node in network.nodes if isinstance(node.op, Linear)]
    return np.concatenate([param.array.ravel() for op in layers for param in (op.weight, op.bias) if param is not None])


def _renamed(columns: Columns, names: Mapping[str, str]) -> Columns:
    """The same columns with the one name that every parameter goes by."""
    shapes = {names.get(name, name): shape for name, shape in columns.shapes.items()}
    return Columns(shapes, {names.get(name, name): start for name, start in columns.starts.items()})


def _assumed(network: Network, name: str, words: str, training: bool) -> tuple[str, ...]:
    out = ["plain gradient flow: no momentum, no weight decay, no adaptive or finite steps"]
    of = "a smooth function of the outputs" + (
        " that does not see a shift of all of them" if name == "cross_entropy" else ""
    )
    out.append(f"the loss ({words}) is {of}, on any data")
    if any(n.op.kind == "affine" and "batch_norm" in n.operator for n in network.nodes):
        moments = "the statistics of the batch" if training else "its running statistics, which stay"
        out.append(f"batch norm uses {moments}")
    return tuple(out)
