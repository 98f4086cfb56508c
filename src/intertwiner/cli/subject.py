"""From the words of the command line to what an audit takes: the traced network, the symmetry, the data."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli.code import PREFIX, blamed, names_code
from intertwiner.cli.data import Source, arrays_for, batches_of, parse_scale, parse_source, to_tensor
from intertwiner.cli.groups import read_group
from intertwiner.errors import DataMismatch, WrongUse

if TYPE_CHECKING:
    from intertwiner.network import Network
    from intertwiner.symmetry import Symmetry


@dataclass(frozen=True)
class Words:
    """What the command line says about a network and its data.

    Args:
        model: MODEL.
        weights: --weights.
        data: Every --data.
        example: Every --example.
        outputs: Every --outputs.
        scale: --scale.
        max_samples: --max-samples.
    """

    model: str
    weights: str | None = None
    data: tuple[str, ...] = ()
    example: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    scale: str | None = None
    max_samples: int | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A network ready to be audited.

    Args:
        network: The traced network.
        data: What the library takes as data; None for noise.
        source: What reports call the data, "" for noise.
        note: What was done to the data.
        model: The module, where it is one.
    """

    network: Network
    data: Any
    source: str
    note: str
    model: Any = None


def read_symmetry(
    group: str, on_input: Sequence[str], on_output: Sequence[str], subgroup: str | None = None
) -> Symmetry:
    """The symmetry that --group, --input and --output spell, for the elements of --subgroup only."""
    from intertwiner.symmetry import Symmetry, parse_action

    actions = []
    for option, parts in (("--input", on_input), ("--output", on_output)):
        spelling = "|".join(parts)
        if not spelling.strip():
            raise WrongUse(f"{option} is empty; 'intertwiner audit --help' lists the spellings")
        with blamed(f"{option} {spelling}"):
            actions.append(parse_action(spelling))
    whole = Symmetry(read_group(group), *actions)
    if subgroup is None:
        return whole
    with blamed(f"--subgroup {subgroup}"):
        return whole.restricted(subgroup)


def open_network(words: Words, *, any_mode: bool = False) -> Opened:
    """Load, trace, and read the data.

    Args:
        words: What the command line says.
        any_mode: Put a module that is in training mode into evaluation mode, instead of refusing it.

    Raises:
        IntertwinerError: Everything that can be refused before anything is computed.
    """
    from torch.export import ExportedProgram

    from intertwiner.network import load_model

    scale = parse_scale(words.scale)
    sources = [parse_source(text) for text in words.data]
    code = [s for s in sources if s.path is None]
    if code and (len(sources) > 1 or scale is not None):
        raise WrongUse(f"--data {code[0].text}: code yields whole batches; it stands alone, and without --scale")
    if sources and words.example:
        raise WrongUse("--example gives the shape where there are no data; leave it out beside --data")
    if scale is not None and not sources:
        raise WrongUse("--scale is for data, and there is no --data")
    with blamed(words.model):
        model = load_model(words.model, words.weights)
    if any_mode and not isinstance(model, ExportedProgram):
        model.eval()
    data = batches_of(code[0]) if code else None
    label = words.model if names_code(words.model) else Path(words.model).resolve().stem
    source = ", ".join(words.data)
    if isinstance(model, ExportedProgram):
        network = _trace(model, _example(words, model), words, label)
        if sources and not code:
            names, types = [s.name for s in network.inputs], [s.dtype for s in network.inputs]
            data, note = _read(sources, names, types, scale, words.max_samples)
            return Opened(network, data, source, note)
        return Opened(network, data, source, "")
    note = ""
    if code:
        from intertwiner.audit.subject import example_of

        example, data = example_of(model, data)
    elif sources:
        names = _arguments(model)
        data, note = _read(sources, names, [_float_type(model)] * len(names), scale, words.max_samples, known=False)
        example = tuple(x[:2] for x in data)
    else:
        example = _example(words, model)
        if example is None:
            raise WrongUse(
                f"the shape of the input of {words.model} is not known: give --data, or --example 1x28x28 "
                "(one sample, without the batch) to use noise"
            )
    return Opened(_trace(model, example, words, label), data, source, note, model)


def _trace(model: Any, example: Any, words: Words, label: str) -> Network:
    from intertwiner.network import trace

    try:
        return trace(model, example, outputs=list(words.outputs) or None, name=label)
    except DataMismatch as error:
        whole = [x for x in example or () if not x.is_floating_point()]
        if words.data and whole and words.scale is None:
            raise DataMismatch(
                f"{error}\n  The data are whole numbers ({whole[0].dtype}). If they are images stored as bytes, "
                "--scale 1/255 brings them to [0, 1]; --scale 1 takes the numbers as floats."
            ) from error
        raise


def _read(
    sources: Sequence[Source],
    names: Sequence[str],
    types: Sequence[Any],
    scale: float | None,
    limit: int | None,
    *,
    known: bool = True,
) -> tuple[tuple[Any, ...], str]:
    """The data set as one tensor per input, and what was done to it."""
    tensors, notes = [], []
    for (file, array), dtype in zip(arrays_for(sources, names, limit), types, strict=True):
        floats = scale is not None or "float" in str(array.dtype)
        tensor, note = to_tensor(file, array, dtype if known or floats else None, scale)
        tensors.append(tensor)
        notes += [note] if note else []
    return tuple(tensors), "; ".join(dict.fromkeys(notes))


def _arguments(model: Any) -> list[str]:
    """Names of the arguments that a forward needs."""
    parameters = inspect.signature(model.forward).parameters.values()
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind in places] or ["input"]


def _float_type(model: Any) -> Any:
    import torch

    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _example(words: Words, model: Any) -> tuple[Any, ...] | None:
    """Two samples of noise in the shapes of --example."""
    if not words.example:
        return None
    import torch
    from torch.export import ExportedProgram

    program = isinstance(model, ExportedProgram)
    shapes = [_shape(text) for text in words.example]
    if any(name for name, _ in shapes) and not program:
        order = _arguments(model)
        given = dict(shapes)
        if sorted(given) != sorted(order):
            raise WrongUse(f"--example names {', '.join(given)}; the network takes {', '.join(order)}")
        shapes = [(name, given[name]) for name in order]
    dtype = torch.get_default_dtype() if program else _float_type(model)
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, *shape, generator=generator).to(dtype) for _, shape in shapes)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """A sample shape with or without the name of its input.

    >>> _shape("1x28x28"), _shape("board=9")
    (('', (1, 28, 28)), ('board', (9,)))
    """
    named = PREFIX.match(text)
    name, rest = (text[: named.end() - 1], text[named.end() :]) if named else ("", text)
    sizes = re.split(r"\s*[x, ]\s*", rest.strip())
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise WrongUse(f"--example {text}: expected the shape of one sample, as in 1x28x28 or board=2x3x3")
    return name, tuple(int(size) for size in sizes)
