"""What a verb of this room is asked about: an architecture and one exact parameter, from a module or from arrays.

Floats are dyadic rationals and are taken as they are; nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intertwiner.errors import NonFiniteWeights, WrongUse
from intertwiner.variety.activation import Activation, monomial
from intertwiner.variety.architecture import Architecture


@dataclass(frozen=True, eq=False)
class Subject:
    """One parameter of a polynomial network.

    Args:
        architecture: The network.
        theta: Its parameters, flat, in the order of ``nn.Sequential``.
    """

    architecture: Architecture
    theta: Float[ndarray, " P"]

    @property
    def layers(self) -> list[tuple[Float[ndarray, "out in"], Float[ndarray, " out"] | None]]:
        """``(W_l, b_l)`` by layer."""
        return self.architecture.unflatten(self.theta)


def subject(model: Any, parameters: Any = None, *, example: Any = None) -> Subject:
    """The architecture and the parameter.

    Args:
        model: A module or a traced network that is a chain of linear layers with one polynomial activation between
            them; or an ``Architecture``.
        parameters: For an architecture: flat numbers, or one array per weight and bias in the order of
            ``nn.Sequential``.
        example: For a module: one batch of inputs.

    Raises:
        WrongUse: For a model that is no polynomial chain, or parameters that do not fit.
        NonFiniteWeights: NaN or infinity among the parameters.

    Example:
        >>> subject(Architecture((1, 2, 1), "t^2"), [np.ones((2, 1)), np.ones((1, 2))]).theta
        array([1., 1., 1., 1.])
    """
    if isinstance(model, Architecture):
        if parameters is None:
            raise WrongUse(
                f"{model}: an architecture needs its parameters, {model.parameters} numbers or one array per layer. "
                "Nothing was computed."
            )
        return Subject(model, _flat(model, parameters))
    if parameters is not None:
        raise WrongUse(
            f"parameters belong to an Architecture; {type(model).__name__} has its own. Nothing was computed."
        )
    return _traced(model, example)


def _flat(architecture: Architecture, parameters: Any) -> Float[ndarray, " P"]:
    several = isinstance(parameters, Sequence) and any(np.ndim(p) for p in parameters)
    if several:
        shapes = [part.shape for W, b in architecture.unflatten(np.zeros(architecture.parameters))
                  for part in (W, b) if part is not None]  # fmt: skip
        got = [np.shape(p) for p in parameters]
        if got != shapes:
            raise WrongUse(
                f"{architecture} takes arrays of shapes {shapes}, got {got}. Usual cause: a transposed weight, or a "
                "bias too many. Nothing was computed."
            )
        parameters = np.concatenate([np.ravel(np.asarray(p)) for p in parameters])
    theta = _floats(np.asarray(parameters))
    architecture.unflatten(theta)
    if not np.isfinite(theta).all():
        raise NonFiniteWeights(
            f"{int((~np.isfinite(theta)).sum())} of {theta.size} parameters of {architecture} are NaN or infinite. "
            "Usual cause: training diverged. Nothing was computed."
        )
    return theta


def _floats(numbers: ndarray) -> Float[ndarray, "..."]:
    """As float64, which must not change any of them."""
    theta = np.asarray(numbers, dtype=np.float64)
    if numbers.dtype.kind in "fb" and numbers.dtype.itemsize <= theta.dtype.itemsize:
        return theta
    pairs = zip(numbers.ravel().tolist(), theta.ravel().tolist(), strict=True)
    changed = [x for x, y in pairs if np.isfinite(y) and Fraction(x) != Fraction(y)]
    if changed:
        raise WrongUse(
            f"{len(changed)} parameters are no floats, {changed[0]} among them: they would be rounded, and nothing "
            "exact could be said about them. Next step: multiply each layer by a common denominator, where the "
            "activation allows it. Nothing was computed."
        )
    return theta


def _traced(model: Any, example: Any) -> Subject:
    from intertwiner.identify.chain import as_chain
    from intertwiner.network import ChannelAffine, Network, trace

    network = model if isinstance(model, Network) else trace(model, example)
    chain = as_chain(network)
    why = chain if isinstance(chain, str) else ""
    if any(isinstance(node.op, ChannelAffine) for node in network.nodes):
        why = "there are scales between its layers, which fold in with rounding only"
    if why or isinstance(chain, str):
        raise WrongUse(
            f"{network.name} is no chain of linear layers with one polynomial activation: {why}. Next step: give "
            "Architecture(widths, activation) and the parameters. Nothing was computed."
        )
    activations = {_polynomial(layer.pointwise, layer.name, network.name) for layer in chain.hidden}
    biased = {layer.biased for layer in chain.layers}
    if len(activations) > 1 or len(biased) > 1:
        what = f"several activations ({', '.join(sorted(map(str, activations)))})"
        what = what if len(activations) > 1 else "biases in some layers only"
        raise WrongUse(
            f"{network.name} has {what}; an architecture here has one activation, and biases in every layer or none. "
            "Nothing was computed."
        )
    sigma = activations.pop() if activations else monomial(1)
    architecture = Architecture(chain.widths, sigma, biased.pop())
    parts = [(layer.weight, layer.bias) if layer.biased else (layer.weight,) for layer in chain.layers]
    return Subject(architecture, _flat(architecture, [array for layer in parts for array in layer]))


def _polynomial(pointwise: Any, where: str, name: str) -> Activation:
    from intertwiner.exact import piecewise

    found = piecewise(pointwise)
    if found is None or found.breaks:
        raise WrongUse(
            f"{name} has the activation {pointwise} after {where}, which is no polynomial: its functions are no "
            "variety. Next step: identify and functional_dimension take any activation. Nothing was computed."
        )
    return Activation(tuple((k, c) for k, c in enumerate(found.pieces[0]) if c))
