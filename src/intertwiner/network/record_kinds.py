"""The records that a file may hold: every kind with its fields. What does not stand here is refused.

The keys of a spelt record are ``kind`` and the fields of its class, all of them and no others.
"""

from __future__ import annotations

from typing import Any

from intertwiner.errors import CannotEmit
from intertwiner.network import node as ir
from intertwiner.network.record_fields import (
    AXES,
    LARGEST,
    Field,
    Store,
    anything,
    choice,
    damaged,
    flag,
    integer,
    ints,
    keys,
    nonlinearity,
    number,
    optional,
    pairs,
    param,
    several,
    text,
)

AXIS = integer(0, AXES - 1)
SHAPE = ints(-1)

KINDS: dict[type[ir.Op], dict[str, Field]] = {
    ir.Input: {"position": integer(0, 1023), "name": text},
    ir.Constant: {"value": param},
    ir.Linear: {"weight": param, "bias": optional(param)},
    ir.Conv: {
        "weight": param, "bias": optional(param), "stride": ints(1), "padding": pairs(0), "dilation": ints(1),
        "groups": integer(1), "transposed": flag, "output_padding": ints(0),
        "padding_mode": choice("zeros", "circular", "reflect", "replicate"),
    },
    ir.Pad: {
        "padding": pairs(-LARGEST), "mode": choice("constant", "circular", "reflect", "replicate"), "value": anything,
    },
    ir.Embedding: {"weight": param},
    ir.ChannelAffine: {"scale": optional(param), "shift": optional(param)},
    ir.PointwiseOp: {"pointwise": nonlinearity},
    ir.Add: {"weights": several(number)},
    ir.Multiply: {},
    ir.Divide: {},
    ir.Concat: {"axis": AXIS},
    ir.Pool: {
        "reduction": choice("max", "avg"), "kernel": ints(1), "stride": ints(1), "padding": pairs(0),
        "dilation": ints(1), "ceil_mode": flag, "count_include_pad": flag, "divisor": optional(integer(1)),
        "windows": optional(several(pairs(0))),
    },
    ir.Reduce: {
        "reduction": choice("mean", "sum", "amax", "amin", "norm"), "axes": several(AXIS), "keepdim": flag,
    },
    ir.Reshape: {"shape": SHAPE},
    ir.Permute: {"dims": several(AXIS)},
    ir.Index: {"axis": AXIS, "index": ints(0), "squeeze": flag, "spelling": text},
    ir.Expand: {"shape": SHAPE},
    ir.Softmax: {"axis": AXIS, "log": flag},
    ir.MatMul: {},
    ir.LayerNorm: {
        "axes": several(AXIS), "weight": optional(param), "bias": optional(param), "eps": number, "rms": flag,
    },
    ir.Identity: {"note": text},
    ir.Output: {"names": several(text)},
}  # fmt: skip

BY_NAME = {kind.kind: kind for kind in KINDS}


def write_op(op: ir.Op, place: str, store: Store) -> dict[str, Any]:
    """The record of an operator.

    Raises:
        CannotEmit: There is no spelling for it: it is opaque.
    """
    if type(op) not in KINDS:
        reason = f"{op.target}: {op.reason}" if isinstance(op, ir.Opaque) else "it has no spelling"
        raise CannotEmit(
            f"{place} ({op.kind}) cannot be written down.\n  {reason}\n"
            "  register_rule can say what the operator is. Nothing was written."
        )
    return {"kind": op.kind} | {name: f.write(getattr(op, name), store) for name, f in KINDS[type(op)].items()}


def read_op(record: Any, where: str, store: Store) -> ir.Op:
    """The operator of a record.

    Raises:
        CorruptFile: An unknown kind, an unknown or missing field, or a value that a field may not have.
    """
    name = record.get("kind") if isinstance(record, dict) else None
    kind = BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise damaged(f"{where}.kind", "a kind of record", name)
    fields = KINDS[kind]
    keys(record, ("kind", *fields), where)
    return kind(**{key: f.read(record[key], f"{where}.{key}", store) for key, f in fields.items()})
