"""From a module to a `Network`: checks at the door, ``torch.export``, then one rule per operator.

No symbolic tracing by fx and no decompositions: the exported graph is taken as it is. The batch axis is exported as
dynamic where the module allows it, and with the size of the example where it does not.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.utils import _pytree as pytree

from intertwiner.errors import (
    CannotTrace,
    DataMismatch,
    IntertwinerError,
    ModelInTrainingMode,
    ModelNotDeterministic,
    NonFiniteWeights,
    WrongUse,
)
from intertwiner.network.batch import size_symbols
from intertwiner.network.build import Builder, Recorder, graph_module, varying_nodes
from intertwiner.network.network import Network
from intertwiner.network.prepare import prepare
from intertwiner.network.run import InputSpec
from intertwiner.network.tap import name_taps

CHECKS = "_assert_tensor_metadata"


def trace(
    module: nn.Module | ExportedProgram,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    name: str | None = None,
) -> Network:
    """The network of a module, as a graph with one record per operator.

    Args:
        module: A module in evaluation mode, or a program from ``torch.export``.
        example: The tensor it takes, or a tuple of arguments; the first axis is the batch. Not needed for a program
            that carries its own example.
        kwargs: Keyword arguments of the call.
        outputs: Which of several outputs to keep, by name (``policy``, ``output.0``).
        name: What reports call the network; its class by default.

    Returns:
        The traced network. It shares the weights of the module.

    Raises:
        ModelInTrainingMode: Dropout or batch norm in training mode.
        ModelNotDeterministic: Random operators, or two different answers to one question.
        NonFiniteWeights: NaN or infinity among the weights.
        DataMismatch: The module cannot run on the example.
        CannotTrace: ``torch.export`` failed; the message holds its reason.

    Cost:
        One export (about 0.1 s per hundred operators) and four forward passes on the example.

    Example:
        >>> net = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(2, 3))
        >>> net.taps
        ('input', '0:out', '1:out', '2:out')
        >>> [n.op.kind for n in net.nodes]
        ['input', 'linear', 'pointwise', 'linear', 'output']
    """
    if isinstance(module, ExportedProgram):
        program, arguments = module, _program_example(module, example, kwargs)
        label = name or "ExportedProgram"
        _refuse_nonfinite({**program.state_dict, **program.constants})
    elif isinstance(module, nn.Module):
        args, keywords = _arguments(example, kwargs)
        _check_module(module, args, keywords)
        program = _export(module, args, keywords)
        arguments = pytree.tree_leaves((args, keywords))
        label = name or type(module).__name__
    else:
        raise WrongUse(f"trace takes a torch.nn.Module or an ExportedProgram, got {type(module).__name__}")
    with _quiet(), torch.no_grad():
        return _build(program, tuple(arguments), tuple(outputs) if outputs is not None else None, label)


def export_module(module: nn.Module, example: Any, kwargs: Mapping[str, Any] | None = None) -> ExportedProgram:
    """The exported program of a module, after the same checks as `trace`."""
    args, keywords = _arguments(example, kwargs)
    _check_module(module, args, keywords)
    return _export(module, args, keywords)


def _build(program: ExportedProgram, arguments: tuple[Any, ...], outputs: tuple[str, ...] | None, name: str) -> Network:
    _drop_checks(program)
    prepared = prepare(program, arguments, outputs)
    module = graph_module(prepared)
    tensors = [arguments[p] for p in prepared.positions]
    placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
    if not tensors:
        raise CannotTrace("the network takes no tensor, so it has no input to act on")
    batch, batched, fixed = _batch(placeholders, tensors)
    varying = varying_nodes(module.graph)
    recorder = Recorder(module, varying)
    try:
        first = recorder.run(*tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CannotTrace(f"the exported graph does not run on the example: {_first_line(error)}") from error
    nodes = Builder(prepared, module, recorder.seen, batch, batched, varying).build()
    _refuse_differing(first, module(*tensors), "the exported graph")
    nodes, further = name_taps(nodes, module.graph)
    specs = tuple(
        InputSpec(label, tuple(x.shape), x.dtype, n.name in batched, _free_axes(n))
        for label, n, x in zip(prepared.inputs, placeholders, tensors, strict=True)
    )
    return Network(
        name, nodes, specs, prepared.outputs, batch if fixed else None, module, prepared.tensors, further,
        prepared.in_spec, prepared.out_spec, tuple(tensors), program,
    )  # fmt: skip


def _batch(placeholders: list[Any], tensors: list[Tensor]) -> tuple[int, frozenset[str], bool]:
    """Batch size of the example, which inputs have the batch, and whether the export is bound to that size."""
    shapes = [n.meta["val"].shape if "val" in n.meta else x.shape for n, x in zip(placeholders, tensors, strict=True)]
    dynamic = [bool(s) and bool(size_symbols(s[0])) for s in shapes]
    if any(dynamic):
        first = dynamic.index(True)
        names = frozenset(n.name for n, d in zip(placeholders, dynamic, strict=True) if d)
        return int(tensors[first].shape[0]), names, False
    size = next((int(x.shape[0]) for x in tensors if x.ndim), 1)
    names = [n.name for n, x in zip(placeholders, tensors, strict=True) if x.ndim and x.shape[0] == size]
    return size, frozenset(names), True


def _free_axes(placeholder: Any) -> tuple[int, ...]:
    val = placeholder.meta.get("val")
    return () if val is None else tuple(a for a, s in enumerate(val.shape) if a and size_symbols(s))


def _drop_checks(program: ExportedProgram) -> None:
    """Assertions about types and devices would forbid running the graph in float64."""
    for n in list(program.graph.nodes):
        if CHECKS in str(n.target) and not n.users:
            program.graph.erase_node(n)


def _arguments(example: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with at least two samples: a single sample would be taken for a constant by the export."""
    if example is None:
        raise WrongUse("tracing needs an example: a tensor, or a tuple of arguments, with the batch first")
    args = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    keywords = dict(kwargs or {})
    tensors = [x for x in pytree.tree_leaves((args, keywords)) if isinstance(x, Tensor)]
    if not tensors:
        raise WrongUse("the example holds no tensor")
    for x in tensors:
        if x.ndim and x.shape[0] == 0:
            raise DataMismatch(f"the example has shape {tuple(x.shape)}: give at least one sample")
    if tensors[0].ndim and tensors[0].shape[0] == 1:
        args, keywords = pytree.tree_map(_twice, (args, keywords))
    return pytree.tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, (args, keywords))


def _twice(x: Any) -> Any:
    return torch.cat([x, x]) if isinstance(x, Tensor) and x.ndim and x.shape[0] == 1 else x


def _program_example(program: ExportedProgram, example: Any, kwargs: Mapping[str, Any] | None) -> list[Any]:
    if example is not None:
        args = tuple(example) if isinstance(example, (tuple, list)) else (example,)
        dynamic = any(size_symbols(s) for n in program.graph.nodes if n.op == "placeholder"
                      for s in getattr(n.meta.get("val"), "shape", ())[:1])  # fmt: skip
        return pytree.tree_leaves(_arguments(args, kwargs) if dynamic else (args, dict(kwargs or {})))
    if program.example_inputs is not None:
        leaves = pytree.tree_leaves(program.example_inputs)
        if leaves:
            return leaves
    raise WrongUse("this exported program carries no example; pass one")


def _check_module(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    training = [
        path or type(m).__name__
        for path, m in module.named_modules()
        if m.training and (isinstance(m, nn.modules.batchnorm._BatchNorm) or _drops(m))
    ]
    if training:
        listed = ", ".join(training[:6]) + (f" and {len(training) - 6} more" if len(training) > 6 else "")
        raise ModelInTrainingMode(
            f"these modules are in training mode: {listed}.\n  With dropout or batch norm active the network is not "
            "one function. Call model.eval() first. Nothing was traced."
        )
    _refuse_nonfinite(dict([*module.named_parameters(), *module.named_buffers()]))
    _check_placement(module, args, kwargs)
    try:
        with torch.no_grad():
            answers = [module(*args, **kwargs) for _ in range(2)]
    except IntertwinerError:
        raise
    except Exception as error:
        raise DataMismatch(
            f"the network cannot run on the example: {type(error).__name__}: {_first_line(error)}\n"
            f"  example: {_describe((args, kwargs))}. Give one batch of the data that the network takes."
        ) from error
    _refuse_differing(answers[0], answers[1], "the network")


def _drops(m: nn.Module) -> bool:
    p = getattr(m, "p", getattr(m, "dropout", 0.0))
    return isinstance(m, (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)) and p > 0


def _check_placement(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    parameters = list(module.parameters())
    if not parameters:
        return
    for x in pytree.tree_leaves((args, kwargs)):
        if isinstance(x, Tensor) and x.device != parameters[0].device:
            raise DataMismatch(
                f"the example is on {x.device}, the network on {parameters[0].device}.\n"
                f"  Move it with .to({str(parameters[0].device)!r}). Nothing was traced."
            )


def _refuse_nonfinite(tensors: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            # Masks of minus infinity are constants that a network may well hold; NaN never is.
            parameter = isinstance(tensor, nn.Parameter)
            if not parameter and not bool(torch.isnan(tensor).any()) and bool((tensor != float("inf")).all()):
                continue
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteWeights(
                f"{name!r} has {bad} of {tensor.numel()} entries that are NaN or infinite.\n"
                "  Usual cause: training diverged. Nothing was traced."
            )


def _refuse_differing(first: Any, second: Any, who: str) -> None:
    for a, b in zip(pytree.tree_leaves(first), pytree.tree_leaves(second), strict=True):
        if isinstance(a, Tensor) and not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)):
            gap = float((a.double() - b.double()).abs().max())
            raise ModelNotDeterministic(
                f"{who} answers differently when asked twice (largest difference {gap:.3g}).\n"
                "  Usual cause: dropout as a function with training=True, noise in the forward, or a hidden state. "
                "Nothing was traced."
            )


def _export(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """Export with a dynamic batch, and with the size of the example where that fails."""
    batch = next(x.shape[0] for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.ndim)

    def dynamic(x: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(x, Tensor) and x.ndim and x.shape[0] == batch else None

    bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    shapes = {name: pytree.tree_map(dynamic, value) for name, value in bound.items()}
    causes: list[Exception] = []
    for shape in (shapes, None):
        try:
            with _quiet():
                return export(module, args, kwargs, dynamic_shapes=shape, strict=False)
        except Exception as error:  # noqa: BLE001  (torch.export raises whatever it likes)
            causes.append(error)
    raise CannotTrace(
        f"torch.export cannot trace {type(module).__name__}: {type(causes[-1]).__name__}: {_first_line(causes[-1])}\n"
        "  Usual cause: control flow that depends on the values of tensors. Trace a part of the network instead. "
        "Nothing was traced."
    ) from causes[-1]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the chatter of the exporter away from the user; errors pass."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _describe(tree: Any) -> str:
    return ", ".join(
        f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}" if isinstance(x, Tensor) else repr(x)
        for x in pytree.tree_leaves(tree)
    )
