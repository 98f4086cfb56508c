r"""Is the function of a parameter a smooth point of the neurovariety?

The neurovariety is the closure of all functions of the architecture; a point is smooth where its tangent space has the
dimension of the variety [Hartshorne 1977, sec. I.5]. That is a property of the function: a drop of the rank of the
Jacobian at a parameter proves nothing about it, the parametrisation may be to blame. What decides: it fills its space;
linear layers (matrices of bounded rank); two layers (``two_layers.py``); the zero function, at which all
functions are tangent because the variety is a cone; proved equations whose gradients at the function have rank equal to
the codimension (smooth), or the one equation of a hypersurface, whose gradient vanishes (singular). For deeper monomial
networks with non-increasing widths and a scalar output, full parameters are smooth under layerwise regularity
assumptions [Graziani 2026, arXiv:2606.18440]; these are not checked here, so the theorem is named and not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from intertwiner.errors import RankUndecided, WrongUse
from intertwiner.numerics.modular import Modulus
from intertwiner.numerics.modular_echelon import rank_of_residues
from intertwiner.numerics.seeds import rng
from intertwiner.variety.architecture import Architecture, is_affine
from intertwiner.variety.degeneracy import Degeneracy, degeneracy
from intertwiner.variety.equations import equations
from intertwiner.variety.exact_rows import fractions, rank_of_fractions
from intertwiner.variety.expansion import Coordinates, exact_coordinates, outputs
from intertwiner.variety.family import draw
from intertwiner.variety.subject import Subject, subject
from intertwiner.variety.two_layers import Decision, two_layers
from intertwiner.variety.weights import monomials
from intertwiner.verdict import Kind, Verdict

FEW_MONOMIALS = 5_000
"""Equations are looked for up to the degree with so many monomials."""

FEW_INPUTS = 8
"""Random inputs at which a function is asked whether it is zero, before that is decided exactly."""

MOST_SPANNED = 300
"""Dimension up to which it is asked whether functions span more."""

GRAZIANI = "full parameters are smooth [Graziani 2026, arXiv:2606.18440]"


@dataclass(frozen=True)
class Smoothness:
    """Whether a function is a smooth point of the neurovariety.

    Args:
        status: "smooth", "singular" or "undecided".
        degeneracy: Whether the parameter is full, and the rank of the Jacobian there.
        verdict: PROVED with the claim that holds, or UNDECIDED with what is missing.
    """

    status: str
    degeneracy: Degeneracy
    verdict: Verdict

    @property
    def architecture(self) -> Architecture:
        return self.degeneracy.architecture

    @property
    def rank_drop(self) -> int | None:
        """By how much the rank of the Jacobian is lower than elsewhere, which is no proof of a singular point.

        None for networks so large that it was not taken.
        """
        return self.degeneracy.local.drop if self.degeneracy.local else None

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "degeneracy": self.degeneracy.to_json(), "verdict": self.verdict.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Smoothness:
        return cls(record["status"], Degeneracy.from_json(record["degeneracy"]), Verdict.from_json(record["verdict"]))

    def __str__(self) -> str:
        lines = [f"{self.verdict.kind}: {self.verdict.claim}", f"  {self.verdict.reason}"]
        lines.append(f"  Jacobian: {self.degeneracy.local or 'not asked for'}")
        if self.rank_drop:
            lines.append("  a drop of that rank alone is no proof of a singular point")
        return "\n".join(lines)


def smoothness(
    model: Any, parameters: Any = None, *, example: Any = None, max_degree: int = 4, seed: int = 0
) -> Smoothness:
    """Decide whether the function of a parameter is a smooth point of its neurovariety, where that is known.

    Args:
        model: A module or traced network, a chain of linear layers with one polynomial activation; or an
            ``Architecture``.
        parameters: With an architecture: flat numbers, or one array per weight and bias.
        example: With a module: one batch of inputs.
        max_degree: Highest degree of equations that are looked for where no theorem decides; 0 for none.
        seed: Of everything random.

    Returns:
        The verdict, with the degeneracy of the parameter.

    Raises:
        WrongUse: As for ``degeneracy``.
        NonFiniteWeights: NaN or infinity among the parameters.

    Cost:
        As ``degeneracy``; where no theorem decides, as ``equations`` with at most a few thousand monomials.

    Example:
        >>> net = Architecture((3, 2, 1), "t^2")
        >>> print(smoothness(net, [1.0, 0, 0, 0, 1, 0, 1, 1]))
        PROVED: the function of this parameter is a smooth point of the neurovariety of 3-2-1, t^2
          the quadratic form has rank 2, and the variety is that of rank at most 2 in 3 variables
          Jacobian: rank 5 at this parameter, 5 at random ones
        >>> smoothness(net, [1.0, 0, 0, 1, 0, 0, 1, 1]).status
        'singular'
    """
    given = subject(model, parameters, example=example)
    found = degeneracy(given.architecture, given.theta, seed=seed)
    reasons: list[str] = []
    for decide in (_filling, _affine, _two_layers, _zero, lambda g, f: _by_equations(g, f, max_degree, seed)):
        decision = decide(given, found)
        if isinstance(decision, str):
            reasons += [decision] if decision else []
            continue
        status, reason, theorem, hypotheses = decision
        claim = f"the function of this parameter is a {status} point of the neurovariety of {given.architecture}"
        return Smoothness(
            status, found, Verdict(Kind.PROVED, claim, reason, exact=True, theorem=theorem, hypotheses=hypotheses)
        )
    claim = f"the function of this parameter is a smooth point of the neurovariety of {given.architecture}"
    theorem, hypotheses, why = _deep(given, found)
    reason = "; ".join([*reasons, why] if why else reasons) or "no theorem here speaks about this architecture"
    return Smoothness(
        "undecided", found, Verdict(Kind.UNDECIDED, claim, reason, theorem=theorem, hypotheses=hypotheses)
    )


def _filling(given: Subject, found: Degeneracy) -> Decision | str:
    ambient = given.architecture.ambient_dimension
    if found.local is None or found.local.generic < ambient:
        return ""
    reason = f"the functions fill their space of dimension {ambient}, which has no singular point"
    return "smooth", reason, "", {f"rank {ambient} at some parameter": "checked exactly, modulo a prime"}


def _affine(given: Subject, found: Degeneracy) -> Decision | str:
    if not is_affine(given.architecture.activation, given.architecture.bias):
        return ""
    net, most = given.architecture, min(given.architecture.widths)
    if most == min(net.inputs, net.outputs):
        return (
            "smooth",
            "no hidden layer is narrow: all linear maps are reached, and their space has no singular point",
            "",
            {},
        )
    product = fractions(np.eye(net.inputs))
    for W, _ in given.layers:
        product = np.matmul(fractions(W), product)
    rank = rank_of_fractions(product)
    reason = f"the linear map has rank {rank}, and the variety is that of rank at most {most}"
    theorem = "matrices of bounded rank, singular exactly where the rank is lower"
    return "smooth" if rank == most else "singular", reason, theorem, {"the variety does not fill its space": "checked"}


def _two_layers(given: Subject, found: Degeneracy) -> Decision | str:
    net = given.architecture
    if net.depth != 2 or net.bias or not net.activation.is_monomial:
        return ""
    if net.bound().value >= net.ambient_dimension:
        return "whether the variety fills its space is not proved"
    return two_layers(given, found)


def _zero(given: Subject, found: Degeneracy) -> Decision | str:
    """The zero function, where the functions span more dimensions than their variety has."""
    net, field, random = given.architecture, Modulus(), rng(found.seed)
    bound = net.bound().value
    few = draw((FEW_INPUTS, net.inputs), field, random)
    if bound > MOST_SPANNED or outputs(net, field.of(given.theta)[None], few, field).any():
        return ""
    theta, x = draw((bound + 1, net.parameters), field, random), draw((bound + 1, net.inputs), field, random)
    span = rank_of_residues(outputs(net, theta, x, field).reshape(bound + 1, -1), field)
    if span <= bound or net.ambient_dimension > FEW_MONOMIALS or any(exact_coordinates(net, fractions(given.theta))):
        return ""
    reason = (
        f"the function is zero, every function is tangent to the variety there, and they span at least {span} "
        f"dimensions, the variety at most {bound}"
    )
    return (
        "singular",
        reason,
        "vertices of cones that are no linear spaces are singular",
        {"the function is zero": "checked exactly"},
    )


def _by_equations(given: Subject, found: Degeneracy, max_degree: int, seed: int) -> Decision | str:
    """Gradients of proved equations at the function: their rank is the codimension, or the one gradient vanishes."""
    net, local = given.architecture, found.local
    if local is None:
        return "the dimension was not taken"
    space = Coordinates.of(net)
    fits = [d for d in range(2, max_degree + 1) if monomials(space.dimension, d) <= FEW_MONOMIALS]
    if not fits:
        return f"no equations were looked for among {space.dimension} coefficients" if max_degree else ""
    if local.generic < local.bound:
        return f"the dimension is between {local.generic} and {local.bound}, so no codimension is known"
    try:
        known = equations(net, max(fits), seed=seed)
    except (RankUndecided, WrongUse) as error:
        return str(error).splitlines()[0]
    proved = [e for e in known.all() if e.inserted]
    if not proved:
        return f"no equations up to degree {max(fits)} were proved"
    codimension = space.dimension - local.generic
    point = exact_coordinates(net, fractions(given.theta))
    rank = rank_of_fractions(np.array([e.gradient(point) for e in proved], dtype=object))
    degree = max(e.degree for e in proved)
    what = f"the gradients of the equations up to degree {degree} have rank {rank} there, of codimension {codimension}"
    checked = {"the equations vanish on all functions": "proved by insertion", "the dimension": "proved"}
    if rank == codimension:
        return "smooth", what, "Jacobian criterion", checked
    if codimension == 1 and known.new[degree] == 1 and sum(known.new[:degree]) == 0:
        reason = f"the hypersurface has one equation, of degree {degree}, and its gradient vanishes there"
        return "singular", reason, "Jacobian criterion", {**checked, "no equation of lower degree": "proved"}
    return f"{what}; equations of higher degree may say more"


def _deep(given: Subject, found: Degeneracy) -> tuple[str, dict[str, str], str]:
    """What is known of the hypotheses of the theorem for deeper networks."""
    net = given.architecture
    if net.bias or not net.activation.is_monomial or net.outputs != 1 or net.depth < 3:
        return "", {}, ""
    widths = list(net.widths)
    holds = {
        "monomial activation without biases, scalar output": "holds",
        "non-increasing widths": "holds" if widths == sorted(widths, reverse=True) else "fails",
        "full parameter": "holds, exactly" if found.is_full else f"fails: {found.faults[0].text}",
        "layerwise regularity assumptions": "not checked",
    }
    failing = [name for name, state in holds.items() if state.startswith("fails")]
    if failing:
        return GRAZIANI, holds, f"{GRAZIANI} does not apply: {', '.join(failing)} fails"
    why = f"{GRAZIANI}: what can be checked holds, its layerwise regularity assumptions were not"
    return GRAZIANI, holds, why
