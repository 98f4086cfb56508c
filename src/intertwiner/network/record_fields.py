"""Fields of records as JSON: how each is spelt, and what is let in when it is read back.

A `Field` writes one value and reads one value; reading checks type and range and nothing is converted silently, so
``True`` is no number and ``2.0`` no whole one. Numbers of parameters go to a `Store`, by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from reprlib import Repr
from typing import Any

import numpy as np
from numpy import ndarray

from intertwiner.errors import CannotEmit, CorruptFile, WrongUse
from intertwiner.gauge import Pointwise, pointwise
from intertwiner.network import node as ir
from intertwiner.network.functions import torch_function
from intertwiner.network.spelling import module_path

LARGEST = 2**31
"""Bound of every whole number, and of the entries of a value per sample."""
AXES, PARTS, TEXT, LIST = 16, 64, 512, 2**24
NAME = re.compile(r"(?P<name>[^#]+)(#[1-9][0-9]{0,5})?")
FUNCTION = re.compile(r"[a-z][a-z_0-9]{0,31}(\([-+0-9a-z., '\"]{0,64}\))?")

SHORT = Repr()
"""Cuts what it shows, however large or deep it is."""
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 3, 60, 60


def damaged(where: str, wanted: str, came: Any) -> CorruptFile:
    """The error of everything that a record may not hold."""
    return CorruptFile(f"{where}: expected {wanted}, found {SHORT.repr(came)}")


def keys(record: Any, wanted: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """The record, if it has these keys and no others."""
    if not isinstance(record, dict) or set(record) != set(wanted):
        came = sorted(map(str, record)) if isinstance(record, dict) else record
        raise damaged(where, f"a record with the keys {', '.join(wanted)}", came)
    return record


@dataclass
class Store:
    """The numbers of a record, by name: written one after the other, or read and each asked for.

    ``w`` and ``w#1`` are different numbers under one name; the module that is written from them decides how it calls
    the second. Single numbers that no weight stands behind are kept in the record itself.
    """

    tensors: dict[str, ndarray] = field(default_factory=dict)
    buffers: dict[str, bool] = field(default_factory=dict)

    def put(self, param: ir.Param) -> dict[str, Any]:
        """The record of a parameter; its numbers are kept.

        Raises:
            CannotEmit: NaN among the numbers.
        """
        if np.isnan(param.array).any():
            raise CannotEmit(f"{param.name} holds NaN. Nothing was written.")
        name, shape = module_path(param.name), list(param.shape)
        if param.array.size == 1 and not param.sources:
            return {"number": spell_number(float(param.array.ravel()[0])), "name": name, "shape": shape}
        buffer = not param.sources or not bool(np.isfinite(param.array).all())
        key, count = name, 0
        while key in self.tensors and not (
            self.buffers[key] == buffer
            and self.tensors[key].shape == param.shape
            and np.array_equal(self.tensors[key], param.array)
        ):
            count += 1
            key = f"{name}#{count}"
        self.tensors[key], self.buffers[key] = param.array, buffer
        return {"param": key, "shape": shape, "buffer": buffer}

    def get(self, record: Any, where: str) -> ir.Param:
        """The parameter of a record.

        Raises:
            CorruptFile: The record or the numbers are not what they may be.
        """
        if isinstance(record, dict) and "number" in record:
            keys(record, ("number", "name", "shape"), where)
            shape = ints(0, 1).read(record["shape"], f"{where}.shape", self)
            if 0 in shape or len(shape) > AXES:
                raise damaged(f"{where}.shape", "the shape of one number", record["shape"])
            value = anything.read(record["number"], f"{where}.number", self)
            return ir.Param(_spelt(record["name"], f"{where}.name"), np.full(shape, value))
        keys(record, ("param", "shape", "buffer"), where)
        name = _spelt(record["param"], f"{where}.param", numbered=True)
        key, buffer = record["param"], flag.read(record["buffer"], f"{where}.buffer", self)
        if key not in self.tensors:
            raise damaged(f"{where}.param", "the name of one of the tensors", key)
        array, shape = self.tensors[key], ints(0, LARGEST).read(record["shape"], f"{where}.shape", self)
        if shape != array.shape:
            raise damaged(f"{where}.shape", f"{list(array.shape)}, the shape of {key}", list(shape))
        finite = bool(np.isfinite(array).all())
        if np.isnan(array).any() or not (finite or buffer):
            raise CorruptFile(f"{where}: NaN or infinity in {key}")
        if self.buffers.setdefault(key, buffer) != buffer:
            raise damaged(f"{where}.buffer", f"what {key} is elsewhere", buffer)
        return ir.Param(name, array, () if buffer and finite else (name,))

    def unasked(self) -> list[str]:
        """Names of the tensors that no record asked for."""
        return sorted(set(self.tensors) - set(self.buffers))


def _spelt(name: Any, where: str, *, numbered: bool = False) -> str:
    match = NAME.fullmatch(name) if isinstance(name, str) and len(name) <= TEXT else None
    plain = "" if match is None or (match[2] and not numbered) else match["name"]
    if not plain or plain.count(".") >= PARTS or module_path(plain) != plain:
        raise damaged(where, "a name that a module can hold", name)
    return plain


def spell_number(value: float) -> float | str:
    """A number as JSON has it: infinities are words."""
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


@dataclass(frozen=True)
class Field:
    """How one field is written and read.

    Args:
        read: The value, from its JSON, the place for messages, and the numbers.
        write: The JSON, from the value and the numbers.
    """

    read: Callable[[Any, str, Store], Any]
    write: Callable[[Any, Store], Any] = lambda value, store: value


def integer(low: int, high: int = LARGEST) -> Field:
    """A whole number from ``low`` to ``high``."""

    def read(value: Any, where: str, store: Store) -> int:
        if type(value) is not int or not low <= value <= high:
            raise damaged(where, f"a whole number from {low} to {high}", value)
        return value

    return Field(read)


def several(inner: Field, length: int | None = None) -> Field:
    """A list of values of one kind."""

    def read(value: Any, where: str, store: Store) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > LIST or (length is not None and len(value) != length):
            raise damaged(where, "a list" if length is None else f"a list of {length}", value)
        return tuple(inner.read(v, where, store) for v in value)

    return Field(read, lambda value, store: [inner.write(v, store) for v in value])


def ints(low: int, high: int = LARGEST) -> Field:
    """A list of whole numbers."""
    return several(integer(low, high))


def pairs(low: int, high: int = LARGEST) -> Field:
    """A list of pairs of whole numbers."""
    return several(several(integer(low, high), 2))


def optional(inner: Field) -> Field:
    """A value or null."""
    return Field(
        lambda value, where, store: None if value is None else inner.read(value, where, store),
        lambda value, store: None if value is None else inner.write(value, store),
    )


def choice(*words: str) -> Field:
    """One of a few words."""

    def read(value: Any, where: str, store: Store) -> str:
        if value not in words:
            raise damaged(where, f"one of {', '.join(words)}", value)
        return value

    return Field(read)


def _number(*, finite: bool) -> Field:
    def read(value: Any, where: str, store: Store) -> float:
        if not finite and value in ("inf", "-inf"):
            return float(value)
        if type(value) not in (int, float) or not abs(value) < float("inf"):
            raise damaged(where, "a number", value)
        try:
            return float(value)
        except OverflowError as error:
            raise damaged(where, "a number", value) from error

    return Field(read, lambda value, store: spell_number(float(value)))


def _flag(value: Any, where: str, store: Store) -> bool:
    if type(value) is not bool:
        raise damaged(where, "true or false", value)
    return value


def _text(value: Any, where: str, store: Store) -> str:
    if not isinstance(value, str) or len(value) > TEXT:
        raise damaged(where, f"a text of at most {TEXT} characters", value)
    return value


def _read_pointwise(value: Any, where: str, store: Store) -> Pointwise:
    if not isinstance(value, str) or FUNCTION.fullmatch(value) is None:
        raise damaged(where, "the name of a nonlinearity", value)
    try:
        found, known = pointwise(value), torch_function(value) is not None
    except (TypeError, ValueError, ArithmeticError, WrongUse) as error:
        raise damaged(where, "a nonlinearity with its parameters", value) from error
    if not known or found.name != value:
        raise damaged(where, "the name of a nonlinearity that torch has", value)
    return found


number, anything = _number(finite=True), _number(finite=False)
flag, text = Field(_flag), Field(_text)
param = Field(lambda value, where, store: store.get(value, where), lambda value, store: store.put(value))
nonlinearity = Field(_read_pointwise, lambda value, store: value.name)
