"""The intermediate representation: operators as frozen records of data, nodes in topological order.

A node computes one tensor, ``value = op(*inputs)``; the batch axis is counted in every axis number and in
``shape``. Arrays are numpy float64, weights (out, in) as torch keeps them. Operators of torch that differ
only in spelling become one record, so that later rooms need one case per idea: `x @ W.T`, ``addmm`` and
``linear`` are all `Linear`; batch norm, ``x * 2`` and ``x + bias`` are `ChannelAffine`; slices, flips and rolls are
`Index`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

if TYPE_CHECKING:
    from intertwiner.gauge import Pointwise

Pairs = tuple[tuple[int, int], ...]
"""One (before, after) pair per spatial axis."""


@dataclass(frozen=True, eq=False)
class Param:
    """Numbers that an operator holds: a parameter, a buffer, or something computed from them alone.

    Args:
        name: Name in the state_dict where the numbers come from one entry; otherwise a description.
        array: The numbers, float64, exact for every smaller float type.
        sources: Every state_dict entry that the numbers depend on; empty for literals.
        places: ``array == state_dict[name].ravel()[places]`` where the numbers are a rearrangement of one entry
            (transposed, sliced, broadcast); None where they are that entry itself, or computed.
        computed: The numbers are a function of the sources that is no rearrangement (weight norm, batch norm).
    """

    name: str
    array: Float[ndarray, "..."]
    sources: tuple[str, ...] = ()
    places: Int[ndarray, "..."] | None = None
    computed: bool = False

    def __post_init__(self) -> None:
        array = np.asarray(self.array, dtype=np.float64)
        array.setflags(write=False)
        object.__setattr__(self, "array", array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def is_rewritable(self) -> bool:
        """The numbers can be written back to one state_dict entry."""
        return len(self.sources) == 1 and not self.computed

    def __repr__(self) -> str:
        how = ", computed" if self.computed else ", rearranged" if self.places is not None else ""
        return f"Param({self.name!r}, {'x'.join(map(str, self.shape)) or 'scalar'}{how})"


class Op:
    """What a node does. Records of data only; how it runs, transports or is evaluated is other rooms' business."""

    kind: ClassVar[str] = "op"

    @property
    def params(self) -> tuple[Param, ...]:
        """Every `Param` of the record, in the order of its fields."""
        return tuple(v for v in vars(self).values() if isinstance(v, Param))


@dataclass(frozen=True)
class Input(Op):
    """The tensor that stands at ``position`` among the flattened inputs."""

    position: int
    name: str
    kind: ClassVar[str] = "input"


@dataclass(frozen=True)
class Constant(Op):
    """A tensor that depends on no input. The batch axis, if it has one, has size 1."""

    value: Param
    kind: ClassVar[str] = "constant"


@dataclass(frozen=True)
class Linear(Op):
    """``x W^T + b`` on the last axis; ``weight`` is (out, in)."""

    weight: Param
    bias: Param | None = None
    kind: ClassVar[str] = "linear"


@dataclass(frozen=True)
class Conv(Op):
    """Cross-correlation over the axes from 2 on, channels on axis 1.

    ``weight`` is (out, in / groups, *kernel), or (in, out / groups, *kernel) when transposed. ``padding`` is given
    before and after each axis; its mode is zeros, circular, reflect or replicate.
    """

    weight: Param
    bias: Param | None
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    kind: ClassVar[str] = "conv"

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight.shape[2:]


@dataclass(frozen=True)
class Pad(Op):
    """Padding of every axis, (before, after); mode constant, circular, reflect or replicate."""

    padding: Pairs
    mode: str = "constant"
    value: float = 0.0
    kind: ClassVar[str] = "pad"


@dataclass(frozen=True)
class Embedding(Op):
    """Row ``x`` of ``weight``, (rows, features), for an integer tensor x; features become the last axis."""

    weight: Param
    kind: ClassVar[str] = "embedding"


@dataclass(frozen=True)
class ChannelAffine(Op):
    """``x * scale + shift``; the arrays have as many axes as x and size 1 where they are broadcast."""

    scale: Param | None = None
    shift: Param | None = None
    kind: ClassVar[str] = "affine"

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which scale or shift may differ."""
        return tuple(sorted({a for p in self.params for a, size in enumerate(p.shape) if size > 1}))


@dataclass(frozen=True)
class PointwiseOp(Op):
    """One function of one number, applied to every entry."""

    pointwise: Pointwise
    kind: ClassVar[str] = "pointwise"


@dataclass(frozen=True)
class Add(Op):
    """``sum weights[i] * inputs[i]``; inputs have equally many axes, those of size 1 are broadcast."""

    weights: tuple[float, ...] = (1.0, 1.0)
    kind: ClassVar[str] = "add"


@dataclass(frozen=True)
class Multiply(Op):
    """Entrywise product of two values, broadcast as in `Add`."""

    kind: ClassVar[str] = "multiply"


@dataclass(frozen=True)
class Divide(Op):
    """Entrywise quotient of two values, broadcast as in `Add`."""

    kind: ClassVar[str] = "divide"


@dataclass(frozen=True)
class Concat(Op):
    axis: int
    kind: ClassVar[str] = "concat"


@dataclass(frozen=True)
class Pool(Op):
    """Maximum or mean over windows of the last ``len(kernel)`` axes.

    ``windows`` is set for adaptive pools whose windows differ: (start, stop) of each window, per axis; kernel
    and stride then say the largest window and mean nothing else.
    """

    reduction: Literal["max", "avg"]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...] = ()
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor: int | None = None
    windows: tuple[Pairs, ...] | None = None
    kind: ClassVar[str] = "pool"


@dataclass(frozen=True)
class Reduce(Op):
    """mean, sum, amax, amin or norm (Euclidean) over some axes."""

    reduction: Literal["mean", "sum", "amax", "amin", "norm"]
    axes: tuple[int, ...]
    keepdim: bool
    kind: ClassVar[str] = "reduce"


@dataclass(frozen=True)
class Reshape(Op):
    """Row-major reshape; -1 stands on the batch axis."""

    shape: tuple[int, ...]
    kind: ClassVar[str] = "reshape"


@dataclass(frozen=True)
class Permute(Op):
    """Axis i of the result is axis ``dims[i]`` of the input."""

    dims: tuple[int, ...]
    kind: ClassVar[str] = "permute"


@dataclass(frozen=True)
class Index(Op):
    """Entries ``index`` along one axis: select (the axis goes), slice, flip, roll, or a constant gather."""

    axis: int
    index: tuple[int, ...]
    squeeze: bool = False
    spelling: str = "slice"
    kind: ClassVar[str] = "index"


@dataclass(frozen=True)
class Expand(Op):
    """Repeats axes of size 1; equally many axes before and after, -1 on the batch axis."""

    shape: tuple[int, ...]
    kind: ClassVar[str] = "expand"


@dataclass(frozen=True)
class Softmax(Op):
    axis: int
    log: bool = False
    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class MatMul(Op):
    """Matrix product of two values on their last two axes; equally many axes, leading ones broadcast."""

    kind: ClassVar[str] = "matmul"


@dataclass(frozen=True)
class LayerNorm(Op):
    """``(x - mean) / sqrt(var + eps)`` over ``axes``, then weight and bias; ``rms`` leaves out the mean.

    ``weight`` and ``bias`` have as many axes as x, size 1 where they are broadcast.
    """

    axes: tuple[int, ...]
    weight: Param | None
    bias: Param | None
    eps: float
    rms: bool = False
    kind: ClassVar[str] = "layer norm"


@dataclass(frozen=True)
class Identity(Op):
    """Dropout in evaluation mode, contiguous, clone, detach, a cast to the same type."""

    note: str = ""
    kind: ClassVar[str] = "identity"


@dataclass(frozen=True)
class Output(Op):
    """The flattened outputs, by name; the inputs of the node are the outputs of the network."""

    names: tuple[str, ...]
    kind: ClassVar[str] = "output"


@dataclass(frozen=True)
class Opaque(Op):
    """An operator that no rule understands; ``reason`` says why."""

    target: str
    reason: str
    kind: ClassVar[str] = "opaque"


@dataclass(frozen=True)
class Node:
    """One value of the network.

    Args:
        name: Unique; the name of the traced graph node, with a suffix where one torch operator became several nodes.
        op: What it does.
        inputs: Names of the nodes it reads.
        shape: Shape with the batch size of the example.
        batch_axis: Where the batch stands, or None where the value does not depend on it.
        tap: How users name the place.
        module: Path of the module that it was traced from.
        dtype: "float32", "int64", ...
        batch_multiple: Entries of the batch axis per sample (heads folded into the batch make it larger than 1).
        source: Name of the traced graph node that holds this value; empty for an intermediate of a rule.
        operator: The torch operator, ``aten.linear.default``.
        batch_lead: Entries of the batch axis before the batch: T where the axis is (T, batch) flattened.
        users: Names of the nodes that read it.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    batch_axis: int | None
    tap: str
    module: str = ""
    dtype: str = "float32"
    batch_multiple: int = 1
    source: str = ""
    operator: str = ""
    batch_lead: int = 1
    users: tuple[str, ...] = field(default=(), compare=False)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape without the batch axis."""
        return tuple(s for a, s in enumerate(self.shape) if a != self.batch_axis)
