r"""What training conserves besides when the loss is squared error and the data are symmetric.

Symmetric data show a network less: training moves along ``V_G = { DA^*[A S + B] }`` with the moments S and B of
``data_span.py``, a smaller space of fields than that of all data, so more may be conserved: ``D - dim Lie(V_G)``. This
needs a network whose parameters and inputs separate, ``f = A(theta) phi(x)``: linear and polynomial ones; for other
losses see ``loss_span.py`` [Galley, Shahverdi, Flinth 2026].

Both sides, as without symmetry. Above: the rank of brackets modulo p. Below: laws that are confirmed exactly
(polynomials, quotients of linear forms), the structure of a single linear layer (``one_layer.py``), and Lie algebras
that are small enough to be written out (``lie_closure.py``). PROVED where they meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.algebra import Representation
from intertwiner.errors import ShapeMismatch
from intertwiner.numerics.modular import Modulus
from intertwiner.training.chain import Chain
from intertwiner.training.chain_counts import certain_laws, count_laws
from intertwiner.training.counts import THEOREM, Certain, ConservationCount, count_conserved
from intertwiner.training.data_span import DataSpan, data_span
from intertwiner.training.exact_action import ExactAction, exact_action, primes_for
from intertwiner.training.lie_closure import closure_dimension, orthogonal_to_brackets
from intertwiner.training.one_layer import IrrepLaws, one_layer_laws, ratio_laws, working_order
from intertwiner.training.polynomial_chain import PolynomialChain
from intertwiner.training.polynomial_law import PolynomialLaw, law_residues
from intertwiner.training.polynomial_laws import polynomial_laws
from intertwiner.training.polynomial_map import PolynomialMap
from intertwiner.training.ratio_law import RatioLaw, is_ratio_conserved, ratio_residues, search_ratios
from intertwiner.training.row_space import RowSpaces, row_space_laws
from intertwiner.training.separated import Separated, chain_names, linear_features, path_count, separated
from intertwiner.training.squared_error import ChainMatrix, SquaredError, WrittenMatrix, potential_map

WRITTEN_PARAMETERS = 40
"""Most parameters of a chain whose potentials are written out to look for polynomial laws."""

WRITTEN_PATHS = 100
"""Most paths of such a chain."""

SEARCHED_PARAMETERS = 30
"""Most parameters of a network in which quotients of linear forms are searched for."""

MOST_CLOSED = 24
"""Largest Lie algebra that is looked for by writing it out."""


@dataclass(frozen=True)
class DataSymmetryLaws:
    """What squared error on symmetric data conserves, beside what any loss on any data conserves.

    Args:
        network: What was counted, in words.
        group: The symmetry of the data.
        inputs: Its representation on the inputs, by irreps.
        outputs: Its representation on the outputs.
        moments: Dimensions of the second and the mixed moments that such data can have.
        without: The count for data without symmetry, any loss.
        with_symmetry: The count for squared error on symmetric data.
        polynomials: Independent conserved polynomials, confirmed exactly. Empty where a chain is too large to be
            written out; ``known_laws`` has the balances of any chain.
        ratios: Conserved quotients of linear forms, confirmed exactly.
        irreps: For linear chains, laws in closed form by irreps of the inputs: all of them for a single layer, the row
            spaces of the first layer for others.
    """

    network: str
    group: str
    inputs: str
    outputs: str
    moments: tuple[int, int]
    without: ConservationCount
    with_symmetry: ConservationCount
    polynomials: tuple[PolynomialLaw, ...]
    ratios: tuple[RatioLaw, ...]
    irreps: tuple[IrrepLaws, ...]

    @property
    def extra(self) -> int | None:
        """How many laws the symmetry adds, where both counts are proved."""
        one, other = self.with_symmetry.laws, self.without.laws
        return None if one is None or other is None else one - other

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        record = dict(self.__dict__)
        record["moments"] = list(self.moments)
        record["without"], record["with_symmetry"] = self.without.to_json(), self.with_symmetry.to_json()
        for part in ("polynomials", "ratios", "irreps"):
            record[part] = [law.to_json() for law in record[part]]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DataSymmetryLaws:
        """The record that ``to_json`` wrote."""
        fields = dict(record)
        fields["moments"] = tuple(fields["moments"])
        for part in ("without", "with_symmetry"):
            fields[part] = ConservationCount.from_json(fields[part])
        for part, kind in (("polynomials", PolynomialLaw), ("ratios", RatioLaw), ("irreps", IrrepLaws)):
            fields[part] = tuple(kind.from_json(law) for law in fields[part])
        return cls(**fields)

    def __str__(self) -> str:
        counts = [
            str(c.least) if c.laws is not None else f"{c.least} to {c.most}" for c in (self.with_symmetry, self.without)
        ]
        head = (
            f"{self.network}, squared error, data symmetric under {self.group}: {counts[0]} independent conserved "
            f"functions, {counts[1]} without the symmetry; {self.with_symmetry.verdict.kind}"
        )
        lines = [f"  {law}" for law in (*self.polynomials, *self.ratios)]
        lines += [f"  {part.irrep} ({part.laws}): {part.formula}" for part in self.irreps if part.laws]
        without_formula = self.with_symmetry.least - self.with_symmetry.known
        if without_formula and self.with_symmetry.least > sum(part.laws for part in self.irreps):
            lines.append(f"  and {without_formula} more, for which no formula is known here")
        return "\n".join([head, *lines])


def data_symmetry_laws(
    network: Chain | PolynomialChain | Separated,
    rho_in: Representation,
    rho_out: Representation,
    *,
    degree: int = 2,
    depth: int = 8,
    seed: int = 0,
) -> DataSymmetryLaws:
    """Count and find what gradient flow of squared error conserves on data that are symmetric under a group.

    The data consist of full orbits of pairs ``(g x, g y)``, all elements of an orbit with the same weight. What is
    conserved is conserved whatever these orbits are.

    Args:
        network: A linear or polynomial chain, or a layer on given monomials by ``linear_on_features``.
        rho_in: The action on the inputs.
        rho_out: The action of the same group on the outputs.
        degree: Up to which polynomial laws are looked for.
        depth: Most brackets nested in one another that are tried.
        seed: Decides all random numbers.

    Returns:
        Both counts, each with its verdict, and the laws that were confirmed exactly.

    Raises:
        WrongUse: A ReLU chain, a matrix that is not known exactly, or something too large to write out.
        ShapeMismatch: Actions on other numbers of inputs or outputs than the network has.
        GroupError: Actions of different groups.

    Cost:
        Exact averages over the group, and brackets as in ``count_conserved``; ``D^3``.

    Example:
        >>> from intertwiner.algebra import cyclic
        >>> turn = Representation(cyclic(4), (np.array([[0.0, -1.0], [1.0, 0.0]]),))
        >>> print(data_symmetry_laws(Chain((2, 1)), turn, Representation.trivial(cyclic(4))))
        linear network (2, 1), squared error, data symmetric under C4: 1 independent conserved functions,
        0 without the symmetry; PROVED
          W1[0,1] / W1[0,0] = const
          E (1): u_1/u_0, u the 2 coordinates on E modulo intertwiners
    """
    network = separated(network) if isinstance(network, PolynomialChain) else network
    problem = _problem(network, rho_in, rho_out)
    general = polynomial_laws(network.phi, degree, seed=seed).laws if isinstance(network, Separated) else ()
    without = _count_without(network, general, depth=depth, seed=seed)
    polynomials, ratios, parts = _explicit(problem, degree, seed)
    # Where the potentials are not written out, the laws of any loss are still known.
    polynomials = polynomials if problem.potentials is not None else general
    known = _known(problem, polynomials, ratios, parts)
    bound, because = _rank_bound(problem, parts, without.least)
    certain = known if bound is None else _with_bound(known, problem.phi, bound, because)
    primes = primes_for(lcm(problem.span.order, working_order(problem.actions[0])) if parts else problem.span.order)
    count = count_conserved(problem.phi, certain, depth=depth, primes=primes, seed=seed)
    return DataSymmetryLaws(
        problem.title,
        rho_in.group.name,
        str(rho_in),
        str(rho_out),
        (problem.span.second.dimension, problem.span.mixed.dimension),
        without,
        _worded(count, rho_in.group.name),
        polynomials,
        ratios,
        parts,
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """A network and its symmetry, made exact.

    Args:
        title: The network in words.
        chain: The network, if it is a linear chain.
        actions: The exact actions on inputs and outputs.
        span: The moments that the data can have.
        phi: What squared error on such data sees.
        potentials: The same as polynomials, where they are written out and rational.
    """

    title: str
    chain: Chain | None
    actions: tuple[ExactAction, ExactAction]
    span: DataSpan
    phi: SquaredError
    potentials: PolynomialMap | None


def _problem(network: Chain | Separated, rho_in: Representation, rho_out: Representation) -> _Problem:
    if isinstance(network, Chain):
        chain, title = network, str(network)
        # separated refuses ReLU chains, so they are asked for in any case.
        written = separated(chain) if chain.activation != "linear" or _writable(chain) else None
        features, shape, matrix = linear_features(chain), (chain.widths[0], chain.widths[-1]), ChainMatrix(chain)
    else:
        chain, title, written = None, network.title, network
        features, shape, matrix = network.features, (network.inputs, network.outputs), WrittenMatrix(network)
    if (rho_in.dimension, rho_out.dimension) != shape:
        raise ShapeMismatch(
            f"the network has {shape[0]} inputs and {shape[1]} outputs, the actions have dimensions {rho_in.dimension} "
            f"and {rho_out.dimension}. Usual cause: inputs and outputs swapped. Nothing was computed."
        )
    actions = exact_action(rho_in), exact_action(rho_out)
    span = data_span(features, *actions)
    seen = f"{title} under squared error with {rho_in.group.name}-symmetric data"
    potentials = potential_map(written, span, seen) if written is not None else None
    return _Problem(title, chain, actions, span, SquaredError(matrix, span, seen), potentials)


def _writable(chain: Chain) -> bool:
    return chain.parameters <= WRITTEN_PARAMETERS and path_count(chain) <= WRITTEN_PATHS


def _count_without(
    network: Chain | Separated, laws: Sequence[PolynomialLaw], *, depth: int, seed: int
) -> ConservationCount:
    """The count for any loss and any data."""
    if isinstance(network, Chain):
        return count_laws(network.widths, network.activation, bias=network.bias, depth=depth, seed=seed)
    certain = Certain(lambda theta, field: law_residues(laws, theta, field), [law.formula for law in laws])
    return count_conserved(network.phi, certain, depth=depth, seed=seed)


def _explicit(
    problem: _Problem, degree: int, seed: int
) -> tuple[tuple[PolynomialLaw, ...], tuple[RatioLaw, ...], tuple[IrrepLaws, ...]]:
    """Polynomials and quotients that are confirmed exactly, and the closed forms of a single layer."""
    phi, chain = problem.potentials, problem.chain
    polynomials = polynomial_laws(phi, degree, seed=seed).laws if phi is not None else ()
    rho_in, rho_out = problem.actions
    if chain is None or chain.depth > 1 or not rho_in.orthogonal:
        searched = phi is not None and phi.parameters <= SEARCHED_PARAMETERS
        ratios = search_ratios(phi, seed=seed) if phi is not None and searched else ()
        deep = chain is not None and rho_in.orthogonal
        parts = row_space_laws(chain, rho_in.representation, rho_out.representation) if chain and deep else ()
        return polynomials, ratios, parts
    features = rho_in.with_trivial(int(chain.bias))
    parts = one_layer_laws(features.representation, rho_out.representation)
    ratios = ratio_laws((features, rho_out), parts, chain.matrices[0], chain_names(chain))
    if phi is None or not all(is_ratio_conserved(law, phi) for law in ratios):
        ratios = ()
    return polynomials, ratios, parts


def _known(
    problem: _Problem, polynomials: Sequence[PolynomialLaw], ratios: Sequence[RatioLaw], parts: Sequence[IrrepLaws]
) -> Certain:
    """The laws of any loss, and the explicit ones."""
    chain, rho_in = problem.chain, problem.actions[0]
    own = certain_laws(chain) if chain is not None else None
    spaces = RowSpaces(parts, chain, rho_in, problem.span) if chain is not None and chain.depth > 1 else None

    def gradients(theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
        rows = [law_residues(polynomials, theta, field)]
        rows += [ratio_residues(law, theta, field)[None] for law in ratios]
        if spaces is not None:
            rows.append(spaces.gradients(theta, field))
        return np.concatenate(rows if own is None else [own.gradients(theta, field), *rows])

    names = [law.formula for law in (*polynomials, *ratios)]
    if own is None:
        return Certain(gradients, names)
    return Certain(gradients, [*own.names, *names], own.further, own.because)


def _rank_bound(problem: _Problem, parts: Sequence[IrrepLaws], known: int) -> tuple[int | None, str]:
    """A proved upper bound for the rank of Lie(V_G), and why it is one."""
    size = problem.phi.parameters
    if parts and problem.chain is not None and problem.chain.depth == 1:
        return size - sum(part.laws for part in parts), "by the structure of a single linear layer, irrep by irrep"
    if problem.potentials is None:
        single = problem.span.dimension == 1 and problem.span.second.rational is not None
        return (1, "because such data show a single field") if single else (None, "")
    closed = closure_dimension(problem.potentials, min(size - known - 1, MOST_CLOSED))
    if closed is None:
        return None, ""
    return closed, f"because Lie(V_G), written out, has no more than dimension {closed}"


def _with_bound(known: Certain, phi: SquaredError, bound: int, because: str) -> Certain:
    own, other = known.further, orthogonal_to_brackets(phi, bound)

    def further(theta: Float[ndarray, " D"], field: Modulus) -> Float[ndarray, "laws D"]:
        rows = [other(theta, field)]
        return np.concatenate(rows if own is None else [own(theta, field), *rows])

    return replace(known, further=further, because=" and ".join(filter(None, (known.because, because))))


def _worded(count: ConservationCount, group: str) -> ConservationCount:
    """The count with the hypotheses of this room."""
    if not count.verdict.is_proved:
        return count
    hypotheses = {
        "plain gradient flow of squared error": "assumed",
        f"data that consist of full orbits of {group}, each with equal weights": "assumed",
        "generic parameters, where the dimension of the Lie algebra is locally constant": "assumed",
    }
    return replace(count, verdict=replace(count.verdict, theorem=THEOREM, hypotheses=hypotheses))
