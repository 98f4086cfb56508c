r"""The count for any traced network: its circuit, the laws that are handed over, and a bound on the work.

What is counted are the functions that stay constant whatever the data and the loss are, and whatever comes out of an
operator at which the circuit is cut: the local reparametrisation phi of ``lowering.py``. Training on given data may
conserve more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from intertwiner.errors import WrongUse
from intertwiner.network import Network
from intertwiner.numerics.modular import PRIMES
from intertwiner.training.circuit import ROOM, Circuit
from intertwiner.training.counts import Certain, ConservationCount, Gradients, check_count, count_conserved
from intertwiner.training.lowering import Lowered, lower

MOST_SECONDS = 900.0
"""Counts whose estimate is above are refused."""

FREED = {"inputs, gates and what comes out of a cut operator are free numbers: V is that of phi": "assumed"}


def count_laws_of(
    network: Network | Lowered | Circuit,
    known: Gradients | Certain | None = None,
    *,
    trainable: Collection[str] | None = None,
    batch_statistics: bool = False,
    loss: str = "any",
    depth: int = 8,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
) -> ConservationCount:
    r"""Count the independent conserved functions of a traced network under plain gradient flow.

    Args:
        network: The network; or what `lower` made of it, where its columns are needed beforehand.
        known: Gradients of functions that are conserved by a theorem: from residues of the parameters, in the order of
            the columns of ``lower(network)``, and the modulus to one row per function. None for no such function.
        trainable: See `lower`; for a network only.
        batch_statistics: See `lower`; for a network only.
        loss: See `lower`; for a network only.
        depth: Most brackets nested in one another that are tried.
        primes: Odd primes below 2^26 and above ``depth``.
        seed: Decides all random numbers.

    Returns:
        The count with its certificate, or both bounds where they do not meet.

    Raises:
        NoRule: An operator that cannot be followed, by tap.
        WrongUse: For arguments that are no such thing, or more parameters or work than the bounds; with the estimate.
        Contradiction: A known law is not conserved, or the bounds cross.

    Cost:
        Per prime, curve and depth n: two passes per parameter times ``n^2 / 2``, and products of D x D matrices.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> module = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.ReLU(), torch.nn.Conv1d(2, 1, 1))
        >>> balance = lambda t, field: np.array([[-t[0], -t[1], -t[2], 0, 0, 0, -t[6], 0, t[8], 0, 0],
        ...                                      [0, 0, 0, -t[3], -t[4], -t[5], 0, -t[7], 0, t[9], 0]])
        >>> print(count_laws_of(trace(module, torch.zeros(1, 1, 5)), balance))
        Sequential: 2 independent conserved functions of 11 parameters, 2 known by structure; PROVED
    """
    if isinstance(network, Network):
        network = lower(network, trainable=trainable, batch_statistics=batch_statistics, loss=loss)
    elif trainable is not None or batch_statistics or loss != "any":
        raise WrongUse(
            "trainable, batch_statistics and loss decide how a network is lowered, and this one is lowered already. "
            "Next step: hand them to lower. Nothing was computed."
        )
    circuit = network.circuit if isinstance(network, Lowered) else network
    check_count(circuit, depth, primes, seed)
    check_work(circuit, len(primes))
    if known is None:
        known = no_laws
    certain = known if isinstance(known, Certain) else Certain(known)
    return count_conserved(circuit, certain, depth=depth, primes=primes, seed=seed, assumed=FREED)


def no_laws(theta: np.ndarray, field: object) -> np.ndarray:
    """The gradients of no law at all."""
    return np.zeros((0, len(theta)))


def estimate(circuit: Circuit, primes: int) -> tuple[float, float]:
    """Seconds on one core and bytes that a count takes, about.

    Within a factor of three on networks of 400 to 1,500 parameters without known laws; where the known laws are all,
    the count mostly ends with the first brackets and takes a twelfth to a twenty-fifth.

    Example:
        >>> from intertwiner.training.recorder import Recorder
        >>> record = Recorder()
        >>> seconds, _ = estimate(record.circuit("w", 1, [record.end(record.parameter(np.array([0])))]), 1)
        >>> seconds < 0.001
        True
    """
    size = circuit.parameters
    seconds = primes * (size * (4e-8 * circuit.work + 5e-7 * circuit.size) + 3e-9 * size**3)
    return seconds, 8.0 * (10 * size**2 + 3 * ROOM)


def check_work(circuit: Circuit, primes: int) -> None:
    """Refuse a count that would take too long.

    Raises:
        WrongUse: With the estimates of time and memory.
    """
    seconds, memory = estimate(circuit, primes)
    if seconds > MOST_SECONDS:
        raise WrongUse(
            f"counting the laws of {circuit.name} with {circuit.parameters} parameters would take about {seconds:.0f} "
            f"s and {memory / 1e9:.1f} GB, the bound is {MOST_SECONDS:.0f} s. Next step: a smaller input (fewer "
            "positions have the same laws), a narrower network of the same depth, or one prime instead of several; "
            "the laws by structure need no count. Nothing was computed."
        )
