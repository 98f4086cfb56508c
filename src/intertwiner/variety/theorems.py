r"""What theorems say about the generic fibre of a monomial network, each with whether its hypotheses hold.

* Two layers: ``f = sum_i c_i (w_i x)^r`` is a tensor of order r + 1, so the parameters are unique up to permutations
  and scales as soon as ``min(d_1, d_2) + r min(d_0, d_1) >= 2 d_1 + r`` [Kruskal 1977; Sidiropoulos, Bro 2000].
* Localisation: finite fibres for all blocks of two layers ``(min(d_0, ..., d_{l-1}), d_l, d_{l+1})`` give finite
  fibres for the network. Unique blocks do not make a unique network.
* Any depth, finite fibres: non-increasing widths ``d_0 >= ... >= d_{L-1} >= 2``, r >= 2 and, for a single output,
  r >= 3; or all widths before the output at least 2 and ``r >= 2 d_l - 1``. Kruskal's inequality holds for the blocks.
* Linear layers, and sums of powers with one output: the dimension itself (``powers.py``).

Localisation and what follows from it are in [Usevich, Borsoi, Dérand, Clausel 2025, arXiv:2506.17093], whose
statements may be stronger; what is used here does not rest on the paper, but on this proof.

**Localisation, proved.** Fibres are finite up to scales where only the ``sum d_l`` directions of the scales are in the
kernel of the Jacobian at generic parameters. Let W be the last weights, A those before, and z the forms of degree
``D = r^{L-2}`` that the last hidden layer takes powers of. By induction over the layers it is enough that

    dW z^r + r W (z^{r-1} dz) = 0,   dz any forms of degree D,

forces ``dz_i = t_i z_i``: scaling the rows of A does that, and the other layers have their own blocks. The dimension
of this kernel is upper semicontinuous, so one z is enough. Let the layers below A be parts of identities: ``z = A y``,
``y = (x_1^D, ..., x_m^D)``, m the least width below, A and W generic. A form of degree D is a linear form in y and a
combination of other monomials, and these are independent over the polynomials in y. So the linear part of dz satisfies
the equation alone: that of the block (m, d_{L-1}, d_L), whose kernel consists of scales. For any other monomial, its
coefficients c_i in the dz_i satisfy ``sum_i c_i w_i (a_i y)^{r-1} = 0``. Times a linear form b this says that
``da_i = c_i b``, dW = 0 is in the kernel of the block, hence a scale that leaves W alone: c = 0.

Fibres here are those of generic parameters, up to the gauge. Finite ones mean that the dimension is the naive count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from intertwiner.variety.activation import monomial
from intertwiner.variety.architecture import Architecture, is_affine
from intertwiner.variety.bounds import naive_count, upper_bound
from intertwiner.variety.powers import power_sums
from intertwiner.variety.rank import generic_rank

LINEAR = "dimension of matrices of bounded rank"
KRUSKAL = "uniqueness of tensor decompositions [Kruskal 1977; Sidiropoulos, Bro 2000]"
USEVICH = "widths and degrees of polynomial networks [Usevich, Borsoi, Dérand, Clausel 2025; proof in theorems.py]"
LOCALISATION = "localisation to two-layer blocks [Usevich, Borsoi, Dérand, Clausel 2025; proof in theorems.py]"

LARGEST_BLOCK = 2500
"""Parameters of a block whose rank is taken where no inequality decides."""


@dataclass(frozen=True)
class Criterion:
    """A theorem beside an architecture.

    Args:
        theorem: Its name and source.
        applies: Whether its hypotheses hold; None where that is not known.
        gives: "unique" up to permutations and scales, "finite" up to scales, "dimension": that the bound is reached.
        reason: The numbers that decided it.
    """

    theorem: str
    applies: bool | None
    gives: str
    reason: str

    def reaches(self, bound: int, expected: int) -> bool:
        """Whether it says that an upper bound is the dimension: finite fibres reach what is expected."""
        return bool(self.applies) and (self.gives == "dimension" or bound == expected)

    def to_json(self) -> dict[str, Any]:
        return {"theorem": self.theorem, "applies": self.applies, "gives": self.gives, "reason": self.reason}


def criteria(architecture: Architecture) -> tuple[Criterion, ...]:
    """Every theorem that is known here, with whether it applies.

    Example:
        >>> for one in criteria(Architecture((3, 3, 2), "t^2")):
        ...     print(one.gives, one.applies, one.reason)
        unique True min(3, 2) + 2 min(3, 3) = 8, needs 2 x 3 + 2 = 8
        finite True widths do not increase, r = 2 >= 2
        finite True all 1 blocks have finite fibres
    """
    sigma = architecture.activation
    if is_affine(sigma, architecture.bias):
        rank = min(architecture.widths)
        return (Criterion(LINEAR, True, "dimension", f"{architecture.depth} linear layers, least width {rank}"),)
    if architecture.bias or not sigma.is_monomial or sigma.degree < 2 or architecture.depth < 2:
        reason = f"it is about monomials t^r, r >= 2, without biases and at least two layers; got {architecture}"
        return tuple(
            Criterion(name, False, gives, reason)
            for name, gives in ((KRUSKAL, "unique"), (USEVICH, "finite"), (LOCALISATION, "finite"))
        )
    found = (_kruskal(architecture), _usevich(architecture), _localisation(architecture))
    if architecture.depth == 2:
        n, m, k = architecture.widths
        known = power_sums(n, m, k, sigma.degree)
        if known is not None and known.exact:
            found += (Criterion(known.source, True, "dimension", known.reason),)
    return found


def _kruskal(architecture: Architecture) -> Criterion:
    if architecture.depth != 2:
        return Criterion(KRUSKAL, False, "unique", f"it is about two layers, got {architecture.depth}")
    holds, reason = kruskal_inequality(architecture.widths, architecture.activation.degree)
    return Criterion(KRUSKAL, holds, "unique", reason)


def kruskal_inequality(widths: tuple[int, ...], r: int) -> tuple[bool, str]:
    """The inequality for generic parameters of two layers, in numbers.

    Example:
        >>> kruskal_inequality((3, 3, 1), 3)
        (True, 'min(3, 1) + 3 min(3, 3) = 10, needs 2 x 3 + 3 = 9')
    """
    n, m, k = widths
    have, need = min(m, k) + r * min(n, m), 2 * m + r
    return have >= need, f"min({m}, {k}) + {r} min({n}, {m}) = {have}, needs 2 x {m} + {r} = {need}"


def _usevich(architecture: Architecture) -> Criterion:
    widths, r = architecture.widths, architecture.activation.degree
    before = widths[:-1]
    if min(before) < 2:
        return Criterion(USEVICH, False, "finite", f"a width before the output is below 2: {widths}")
    falling = all(a >= b for a, b in pairwise(before))
    least = 3 if widths[-1] == 1 else 2
    if falling and r >= least:
        return Criterion(USEVICH, True, "finite", f"widths do not increase, r = {r} >= {least}")
    most = 2 * max(architecture.hidden) - 1
    if r >= most:
        return Criterion(USEVICH, True, "finite", f"r = {r} >= 2 x {max(architecture.hidden)} - 1")
    short = f"widths do not increase but r = {r} < {least}" if falling else "widths increase"
    return Criterion(USEVICH, False, "finite", f"{short}, and r = {r} < {most}")


def _localisation(architecture: Architecture) -> Criterion:
    widths, r = architecture.widths, architecture.activation.degree
    failed, unknown = [], []
    for l in range(1, architecture.depth):
        block = (min(widths[:l]), widths[l], widths[l + 1])
        finite = finite_block(block, r)
        if finite is None:
            unknown.append(block)
        elif not finite:
            failed.append(block)
    if failed:
        return Criterion(LOCALISATION, False, "finite", f"the block {failed[0]} has infinite fibres")
    if unknown:
        return Criterion(LOCALISATION, None, "finite", f"whether the block {unknown[0]} has finite fibres is not known")
    return Criterion(LOCALISATION, True, "finite", f"all {architecture.depth - 1} blocks have finite fibres")


def finite_block(widths: tuple[int, int, int], r: int) -> bool | None:
    """Whether two layers have finite generic fibres up to scales: by Kruskal, by an upper bound, or by a rank.

    Example:
        >>> finite_block((3, 3, 2), 2), finite_block((3, 2, 1), 2)
        (True, False)
    """
    if kruskal_inequality(widths, r)[0]:
        return True
    block = Architecture(widths, monomial(r))
    count = naive_count(block)
    if upper_bound(block).value < count:
        return False
    if block.parameters > LARGEST_BLOCK:
        return None
    # A rank that meets the count is a proof; one that does not decides nothing.
    return True if generic_rank(block, count)[-1].rank == count else None
