"""The functional dimension: how many dimensions of parameters the function sees, at a given parameter.

It is the rank of the Jacobian of the outputs by the parameters over many inputs. For ReLU-like and polynomial networks
it is computed modulo a prime at exactly certified inputs, where it is a proved lower bound; directions that the gauge
or the weights prove to be null give an upper bound, and where both meet the dimension is PROVED (theory 3). For smooth
networks it is a rank with its gap. It is a local statement: full rank never says that the parameters are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from intertwiner.errors import NoRule, WrongUse
from intertwiner.exact import Columns, check_exact, float_jacobian
from intertwiner.identify.dimension.ambient import ambient_dimension
from intertwiner.identify.dimension.gauge_directions import Direction, gauge_directions, parameter_vector
from intertwiner.identify.dimension.inputs import Pool, draw, drawn_pool, given_pool
from intertwiner.identify.dimension.neuron_columns import Neurons, hidden_neurons
from intertwiner.identify.dimension.null_directions import (
    NullDirection,
    Taken,
    hidden_vectors,
    named_by_proof,
    take_apart,
)
from intertwiner.identify.dimension.numerical import (
    best_rank,
    name_numerically,
    state_columns,
    torch_jacobian,
)
from intertwiner.identify.dimension.rank import ExactRank, exact_rank
from intertwiner.identify.dimension.record import FunctionalDimension
from intertwiner.identify.dimension.structure import proved_directions, suspicions
from intertwiner.network import Network, trace
from intertwiner.numerics.modular import FAST_PRIME, PRIMES, Modulus
from intertwiner.numerics.modular_echelon import Echelon
from intertwiner.numerics.seeds import rng
from intertwiner.verdict import Kind, Verdict

INPUTS = 6000
"""Inputs that a network is tried on before its rank counts as final; each costs a forward pass, few cost more."""

LARGE = 3000
"""From so many parameters on the smaller prime, whose matrix products cost half, is tried first."""

POOL = 1 << 28
"""Numbers of all nodes together at all inputs tried: large networks are tried on fewer."""

SCALES = ((1.0,), (1.0, 2.0, 4.0))
"""Scales of normal inputs that a smooth network is tried on; the larger of the ranks that can be called counts."""

FLOAT_SIZE = 1 << 24
"""Hidden directions are returned as floats where the Jacobian has at most this many numbers."""


def functional_dimension(
    model: nn.Module | Network,
    data: Tensor | Sequence[Tensor] | None = None,
    *,
    example: Any = None,
    seed: int = 0,
    exact: bool | None = None,
    inputs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FunctionalDimension:
    """The functional dimension of a network at its parameters, with every null direction named.

    Args:
        model: A module, traced on ``data`` or ``example``, or a traced network. A chain that starts with a linear
            layer needs neither.
        data: Inputs to take the dimension on, one tensor per input, batch first; drawn at several scales by default.
        example: Inputs to trace on where there is no data.
        seed: What inputs are drawn with; recorded in the result.
        exact: True insists on an exact rank, False on a numerical one; by default exact wherever all operators allow.
        inputs: At most how many inputs to try; by default 6,000, fewer for large networks, and at least three times
            as many as the columns need.
        progress: Called with (inputs, rank) after every batch of rows of an exact rank.

    Returns:
        The dimension with its verdict.

    Raises:
        NoRule: ``exact=True`` and an operator has no exact rule; the message names the tap.
        EmptyData: No input lies surely inside a piece of every nonlinearity.
        RankUndecided: A numerical rank without a gap.
        WrongUse: Nothing to trace on.

    Cost:
        ``4/3 n^3`` multiply-adds for n parameters beyond the last layer, and ``n^2 / 4`` numbers: seconds at 4,000,
        minutes at 20,000.

    Example:
        A neuron that nobody reads: its two weights and its bias are null, and so is the scale of the other.

        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> _ = model[2].weight.data[0, 1].zero_()
        >>> found = functional_dimension(model)
        >>> [str(d) for d in found.null_directions]
        ['dead of neuron 1 at 0 (3)', 'scaling of neuron 0 at 0']
    """
    network = model if isinstance(model, Network) else trace(model, _example(model, data, example))
    tensors = None if data is None else ((data,) if isinstance(data, Tensor) else tuple(data))
    if exact is not False:
        try:
            check_exact(network)
        except NoRule:
            if exact:
                raise
        else:
            return _exactly(network, tensors, seed, inputs, progress)
    return _numerically(network, tensors, seed, inputs)


def _example(model: nn.Module, data: Any, example: Any) -> Any:
    if example is not None:
        return example
    if data is not None:
        return data
    first = next((m for m in model.modules() if not list(m.children())), None)
    if isinstance(first, nn.Linear):
        return torch.zeros(2, first.in_features, dtype=first.weight.dtype, device=first.weight.device)
    raise WrongUse(
        "functional_dimension needs to know what the model takes: give example=, a tensor of the right shape with the "
        "batch first, or data=. Nothing was traced."
    )


def _exactly(
    network: Network,
    data: tuple[Tensor, ...] | None,
    seed: int,
    inputs: int | None,
    progress: Callable[[int, int], None] | None,
) -> FunctionalDimension:
    columns = Columns.of(network)
    theta = parameter_vector(network, columns)
    neurons = hidden_neurons(network, columns)
    known = _known(network, columns, neurons, theta)
    ambient = ambient_dimension(network)
    bound = min(columns.total - _independent(known, columns.total), ambient if ambient is not None else columns.total)
    outputs = sum(int(np.prod(network.node(n).sample_shape)) for n in network.nodes[-1].inputs)
    entries = sum(int(np.prod(node.sample_shape)) for node in network.nodes)
    size = inputs or max(min(INPUTS, POOL // entries), 3 * columns.total // outputs)
    pool = drawn_pool(network, size, seed) if data is None else given_pool(network, [_array(x) for x in data])
    first = PRIMES[0] if columns.total < LARGE else FAST_PRIME
    primes: tuple[int, ...] = (first,)
    found = exact_rank(network, columns, pool, first, bound, progress=progress)
    if found.rank < bound:
        primes = (first, PRIMES[1])
        again = exact_rank(network, columns, pool, PRIMES[1], bound, progress=progress)
        found = again if again.rank > found.rank else found
    reason = "ambient" if found.rank == ambient else "hidden"
    if found.complete:
        suspected = [] if found.rank == bound else suspicions(network, columns, neurons, theta, pool.choices)
        taken = take_apart(found.null, found.free, known, suspected, Modulus(found.prime))
        named = _named(network, columns, pool, found, taken, reason)
    else:
        named = named_by_proof(known, columns.total, found.rank, Modulus(found.prime))
    verdict = _exact_verdict(found, bound, ambient, named, (len(pool), _standing(network, neurons, theta, pool)))
    return FunctionalDimension(
        found.rank, columns.total, _gauge(network), bound, True, primes, found.inputs, len(pool), pool.regions,
        None if data is not None else seed, None, named, verdict, found.growth, columns.computed,
    )  # fmt: skip


def _known(network: Network, columns: Columns, neurons: Sequence[Neurons], theta: ndarray) -> list[Direction]:
    """All directions that are null by proof; a dead neuron is called dead before its scale is."""
    proved = proved_directions(network, columns, neurons, theta)
    dead = [one for one in proved if one.kind == "dead"]
    others = [one for one in proved if one.kind != "dead"]
    return [*dead, *gauge_directions(network, columns, neurons, theta), *others]


def _array(x: Tensor) -> ndarray:
    return x.detach().double().cpu().numpy()


def _gauge(network: Network) -> int:
    return sum(s.gauge.parameters for s in network.latent_spaces if not s.given and not s.opaque)


def _independent(known: Sequence[Direction], total: int) -> int:
    """How many proved directions are independent: at least their rank modulo a prime."""
    field = Modulus(PRIMES[0])
    space = Echelon(total, field)
    for start in range(0, len(known), 256):
        space.add(np.stack([one.residues(total, field) for one in known[start : start + 256]]))
    return space.rank


def _standing(network: Network, neurons: Sequence[Neurons], theta: ndarray, pool: Pool) -> int:
    """Entries on a breakpoint at every input, those apart that nobody reads: they have no say either way."""
    count = sum(int(flag.sum()) for flag in pool.standing.values())
    for group in neurons:
        for node, axis in group.nonlinear(network) if group.trainable and group.readers else ():
            flag = pool.standing.get(node.name)
            if flag is None:
                continue
            for j in np.unique(np.nonzero(flag)[axis - 1]):
                if not theta[group.outgoing(int(j))].any():
                    count -= int(np.take(flag, j, axis=axis - 1).sum())
    return count


def _named(
    network: Network,
    columns: Columns,
    pool: Pool,
    found: ExactRank,
    taken: Taken,
    reason: str,
) -> tuple[NullDirection, ...]:
    """The named directions and those that are left, as float vectors where that is cheap."""
    if not len(taken.hidden):
        return taken.named
    count = len(taken.hidden)
    outputs = sum(int(np.prod(network.node(n).sample_shape)) for n in network.nodes[-1].inputs)
    rows = np.arange(min(len(pool), max(1, 4 * columns.total // outputs)))
    if len(rows) * outputs * columns.total > FLOAT_SIZE:
        return (*taken.named, NullDirection(reason, dimension=count, proved=reason == "ambient"))
    inputs, choices = pool.take(rows)
    J = float_jacobian(network, columns, inputs, choices).reshape(-1, columns.total)
    vectors, residual = hidden_vectors(J, found.free, taken.hidden)
    hidden = [
        NullDirection(reason, proved=reason == "ambient", vector=columns.parts(v), residual=float(r))
        for v, r in zip(vectors.T, residual)
    ]
    return (*taken.named, *hidden)


def _exact_verdict(
    found: ExactRank, bound: int, ambient: int | None, named: Sequence[NullDirection], counts: tuple[int, int]
) -> Verdict:
    tried, standing = counts
    claim = f"the functional dimension at these parameters is {found.rank}"
    facts = {"pieces": "certified by running error bounds", "kind": "local"}
    if standing:
        return Verdict(
            Kind.UNDECIDED, claim,
            f"{standing} entries that others read lie exactly on a breakpoint at every input, where the network has no "
            "derivative; the one from below was taken, as torch does for ReLU",
            hypotheses=facts,
        )  # fmt: skip
    if found.rank == bound:
        proved = sum(d.dimension for d in named if d.proved)
        why = (
            f"the outputs are polynomials with {ambient} coefficients"
            if bound == ambient
            else f"the weights prove {proved} null directions"
        )
        return Verdict(
            Kind.PROVED, claim, f"the rank modulo {found.prime} is a lower bound, and {why}", exact=True,
            theorem="rank modulo a prime never exceeds the rank over the rationals",
            hypotheses=facts,
        )  # fmt: skip
    seen = sum(d.dimension for d in named if not d.proved and d.kind != "hidden")
    hidden = sum(d.dimension for d in named if d.kind == "hidden")
    return Verdict(
        Kind.UNDECIDED, claim,
        f"at least {found.rank} is proved and at most {bound}; of the {bound - found.rank} between, {seen} have a "
        f"reason on the {tried} inputs tried and {hidden} have none",
        hypotheses=facts,
    )  # fmt: skip


def _numerically(
    network: Network, data: tuple[Tensor, ...] | None, seed: int, inputs: int | None
) -> FunctionalDimension:
    columns = state_columns(network)
    theta = parameter_vector(network, columns)
    neurons = hidden_neurons(network, columns)
    known = _known(network, columns, neurons, theta)
    outputs = sum(int(np.prod(network.node(n).sample_shape)) for n in network.nodes[-1].inputs)
    count = inputs or max(50, 2 * columns.total // outputs + 10)
    tries = [data] if data is not None else [_normal(network, count, seed, scales) for scales in SCALES]
    jacobians = [torch_jacobian(network, columns, tensors) for tensors in tries]
    J, found = best_rank(jacobians, where=f"the Jacobian of {network.name}")
    named, rest = name_numerically(found, known, columns)
    hidden = [NullDirection("hidden", vector=columns.parts(v), residual=_share(J, v)) for v in rest.T]
    bound = columns.total - sum(d.dimension for d in named)
    verdict = Verdict(
        Kind.UNDECIDED, f"the functional dimension at these parameters is {found.rank.rank}",
        f"a rank in float64 with a gap of {found.rank.gap:.1e} over {found.rows} rows; no proof, the network is smooth",
        hypotheses={"kind": "local"},
    )  # fmt: skip
    return FunctionalDimension(
        found.rank.rank, columns.total, _gauge(network), bound, False, (), len(tries[0][0]), len(tries[0][0]), 1,
        None if data is not None else seed, found.rank.gap, (*named, *hidden), verdict,
    )  # fmt: skip


def _share(J: ndarray, v: ndarray) -> float:
    """``|J v| / |J|``, zero for a Jacobian that vanishes."""
    size = float(np.linalg.norm(J))
    return float(np.linalg.norm(J @ v)) / size if size else 0.0


def _normal(network: Network, count: int, seed: int, scales: Sequence[float]) -> tuple[Tensor, ...]:
    """Normal inputs at a few scales, so that smooth functions bend; tokens uniformly."""
    drawn = draw(network, count, rng(seed), scales)
    return tuple(
        torch.tensor(x) if s.dtype.is_floating_point else torch.tensor(x).to(s.dtype)
        for x, s in zip(drawn, network.inputs, strict=True)
    )
