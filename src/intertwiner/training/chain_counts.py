"""The count for fully connected networks: the known laws of a chain, those of its thin stretch, and its brackets."""

from __future__ import annotations

from collections.abc import Sequence

from intertwiner.numerics.modular import PRIMES
from intertwiner.training.chain import Chain
from intertwiner.training.counts import Certain, ConservationCount, check_count, count_conserved
from intertwiner.training.laws import known_laws, law_gradients
from intertwiner.training.thin import thin_gradients, thin_stretch


def count_laws(
    widths: Sequence[int],
    activation: str = "linear",
    *,
    bias: bool = False,
    depth: int = 8,
    primes: Sequence[int] = PRIMES,
    seed: int = 0,
) -> ConservationCount:
    r"""Count the independent conserved functions of a fully connected network under plain gradient flow.

    The loss is any smooth function of the outputs on a data set without symmetry; parameters are generic. No momentum,
    weight decay or adaptive step sizes.

    Args:
        widths: Input, hidden and output widths.
        activation: ``"linear"`` or ``"relu"``.
        bias: Whether the layers have biases.
        depth: Most brackets nested in one another that are tried.
        primes: Odd primes below 2^26 and above ``depth``; each gets its own point, fields and curve.
        seed: Decides all random numbers.

    Returns:
        The count with its certificate, or both bounds where they do not meet.

    Raises:
        WrongUse: For widths, an activation, a depth, primes or a seed that are no such thing, or more parameters than
            ``MOST_PARAMETERS``.
        Contradiction: A bug in the library: a known law is not conserved, or the bounds cross.

    Cost:
        Per prime, curve and depth n, ``n^2 / 2`` products of D x D matrices, and an elimination in ``D^3``.

    Example:
        >>> print(count_laws((2, 3, 2)))
        linear network (2, 3, 2): 6 independent conserved functions of 12 parameters, 6 known by structure; PROVED
        >>> count_laws((2, 2, 1), "relu", bias=True).laws
        2
    """
    chain = Chain(tuple(widths), activation, bias)
    check_count(chain, depth, primes, seed)
    return count_conserved(chain, certain_laws(chain), depth=depth, primes=primes, seed=seed)


def certain_laws(chain: Chain) -> Certain:
    """What is conserved by the structure of a chain."""
    laws, stretch = known_laws(chain), thin_stretch(chain)
    return Certain(
        lambda theta, field: law_gradients(laws, theta, field),
        [law.formula for law in laws],
        lambda theta, field: thin_gradients(chain, theta, field),
        "" if stretch is None else f"by the layers {stretch[0] + 1} to {stretch[1]}, which move along one curve",
    )
