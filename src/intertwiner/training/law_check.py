r"""Every law is tried on the network itself: its rate along the gradient of a random loss on random inputs, in float64.

A rate is ``<grad h, g>``; its terms do not cancel by themselves, so that a wrong factor or a wrong row shows. What is
left of an exact law is rounding. It refutes programs, it proves nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from intertwiner.errors import Contradiction
from intertwiner.exact import trainable_names
from intertwiner.network import Network
from intertwiner.numerics.seeds import rng
from intertwiner.training.conservation_record import relative
from intertwiner.training.families import Family

SAMPLES = 8

TOLERANCE = 1e-5
"""Largest rate, as a share of its terms, that rounding explains, also where a model computes in float32 whatever it is
given. In float64 it is some 1e-15; a wrong law has some percent."""

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def check_families(
    model: nn.Module | Network,
    families: Sequence[Family],
    inputs: Inputs,
    *,
    classes: int | None,
    training: bool,
    seed: int,
) -> tuple[tuple[float, ...], str]:
    """The largest rate of every family along one random gradient, or why it could not be measured.

    Args:
        model: The model, which is copied, or a traced network, which runs in evaluation mode.
        families: The laws.
        inputs: Arguments and keyword arguments that it takes.
        classes: Axis of the classes under cross entropy; None for a random quadratic function of the outputs.
        training: Whether batch norm and dropout are in training mode.
        seed: Of inputs and loss.

    Raises:
        Contradiction: An exact law has a rate that is not zero: a bug in the library.

    Cost: One pass forward and back in float64, and a float64 copy of the model.
    """
    if not families:
        return (), "there are no laws"
    if isinstance(model, Network) and any("training mode" in f.holds for f in families):
        return (), "a traced network runs in evaluation mode only; hand over the module"
    try:
        state, gradients = _gradient(model, inputs, classes=classes, training=training, seed=seed)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return (), f"no gradient in float64: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    largest = max((float(g.abs().max()) for g in gradients.values() if g.numel()), default=0.0)
    rates = []
    for family in families:
        rate, scale = family.rates(state, gradients)
        # A gradient that is zero altogether, as that of a key bias, is compared with the others.
        rates.append(relative(rate, scale + (largest if family.kind == "shift" else 0.0)))
        if family.exact and rates[-1] > TOLERANCE:
            raise Contradiction(
                f"{family.formula} ({family.where}) is not conserved: along a random gradient it changes by "
                f"{rates[-1]:.1e} of its terms. Please report this network. Nothing was computed."
            )
    return tuple(rates), ""


def _gradient(
    model: nn.Module | Network, inputs: Inputs, *, classes: int | None, training: bool, seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and their gradients."""
    if isinstance(model, Network):
        twin = model.to(torch.float64)
        module, names = twin.module, dict(twin.names)
        moving = trainable_names(model)
        tensors = {held: t for held, t in module.named_buffers() if names[held] in moving}
        args, kwargs = tuple(_double(x) for x in twin.example), {}
    else:
        module = copy.deepcopy(model).double().train(training)
        tensors = {name: p.detach() for name, p in module.named_parameters()}
        names = {name: name for name in tensors}
        args, kwargs = inputs
    random = torch.Generator().manual_seed(int(rng(seed).integers(1 << 31)))
    leaves = {held: t.detach().clone().requires_grad_(True) for held, t in tensors.items()}
    with torch.enable_grad():
        out = functional_call(module, leaves, args, kwargs)
        value = _loss(pytree.tree_leaves(out), classes, random)
        grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    state = {names[held]: t.detach() for held, t in leaves.items()}
    moved = zip(leaves.items(), grads, strict=True)
    return state, {names[held]: torch.zeros_like(t) if g is None else g for (held, t), g in moved}


def _loss(outputs: Sequence[Any], classes: int | None, random: torch.Generator) -> Tensor:
    values = [o for o in outputs if isinstance(o, Tensor) and o.is_floating_point()]
    if classes is not None:
        labels = torch.rand(values[0].shape, generator=random, dtype=torch.float64).to(values[0].device)
        return -(values[0].log_softmax(classes) * labels).sum()
    total = torch.zeros((), dtype=torch.float64)
    for o in values:
        first, second = (torch.randn(o.shape, generator=random, dtype=torch.float64).to(o.device) for _ in range(2))
        total = total.to(o.device) + (first * o + second * o**2).mean()
    return total


def random_inputs(inputs: Inputs, batch: int | None, seed: int) -> Inputs:
    """Noise in the shape of the example, with ``SAMPLES`` samples where any number will do; whole numbers repeat."""
    leaves = [x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor) and x.ndim]
    size = leaves[0].shape[0] if leaves else 0
    random = torch.Generator().manual_seed(int(rng(seed).integers(1 << 31)))

    def fresh(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if not x.ndim or x.shape[0] != size or batch is not None:
            return _double(x)
        if x.is_floating_point():
            shape = (SAMPLES, *x.shape[1:])
            return torch.randn(shape, generator=random, dtype=torch.float64).to(x.device)
        return x[torch.arange(SAMPLES, device=x.device) % size]

    return pytree.tree_map(fresh, inputs)


def _double(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
