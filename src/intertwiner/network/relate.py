"""Which axes carry the same features: every operator ties axes of its inputs to axes of its result.

A *slot* is a pair (node, axis). Operators unite slots (add, activations, pools), cut them (linear maps and
convolutions read one and write another), put slots side by side (concatenation, slices) or multiply them out (reshapes:
channel x grid). Each slot has the gauge group that every operator touching it tolerates; intersections only get
smaller, so repeating them along the ties ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from intertwiner.gauge import GaugeGroup
from intertwiner.network import node as ir
from intertwiner.network.slots import Relations, Slot, Touch, axis_groups, settle


def axes_of(n: ir.Node) -> list[int]:
    """Axes that may carry features: all but the batch and those of size one, which only broadcast."""
    return [a for a, s in enumerate(n.shape) if a != n.batch_axis and s > 0]


def relate(graph: Mapping[str, ir.Node]) -> Relations:
    """All ties of a network."""
    relations = Relations()
    for n in graph.values():
        for a in axes_of(n):
            relations.new((n.name, a), n.shape[a])
        handler = HANDLERS.get(type(n.op), _closed)
        handler(relations, n, [graph[i] for i in n.inputs])
    settle(relations)
    return relations


Handler = Callable[[Relations, ir.Node, list[ir.Node]], None]


def _through(r: Relations, n: ir.Node, inputs: list[ir.Node], skip: frozenset[int] = frozenset()) -> None:
    """Unite equal axes of inputs and result; an axis of size one that broadcasts stays apart."""
    for i in inputs:
        for a in axes_of(i):
            if a not in skip and a in axes_of(n) and i.shape[a] == n.shape[a]:
                r.unite((n.name, a), (i.name, a))


def _limit(r: Relations, n: ir.Node, group: Callable[[int], GaugeGroup], skip: frozenset[int] = frozenset()) -> None:
    for a in axes_of(n):
        if a not in skip:
            r.restrict((n.name, a), group(n.shape[a]))


def _touch(r: Relations, slot: Slot, n: ir.Node, param: ir.Param | None, axis: int, role: str) -> None:
    if param is not None:
        r.touches.append(Touch(slot, n.name, param.name, axis, role))


def _input(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    for a in axes_of(n):
        r.fix((n.name, a), "input")


def _output(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    for i in inputs:
        for a in axes_of(i):
            r.fix((i.name, a), "output")


def _linear(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    op, last = n.op, len(n.shape) - 1
    if isinstance(op, ir.Linear):
        _through(r, n, inputs, frozenset({last}))
        _touch(r, (inputs[0].name, last), n, op.weight, 1, "read")
        _touch(r, (n.name, last), n, op.weight, 0, "write")
        _touch(r, (n.name, last), n, op.bias, 0, "write")


def _embedding(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    if isinstance(n.op, ir.Embedding):
        _through(r, n, inputs)
        _touch(r, (n.name, len(n.shape) - 1), n, n.op.weight, 1, "write")


def _conv(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    op = n.op
    if not isinstance(op, ir.Conv):
        return
    source, target = (inputs[0].name, 1), (n.name, 1)
    channels, out = inputs[0].shape[1], n.shape[1]
    if any(p != (0, 0) for p in op.padding) and op.padding_mode == "zeros":
        # A constant that an activation gauge adds would have to stand in the padding as well.
        r.restrict(source, GaugeGroup.general_linear(channels))
    if op.groups == 1:
        _touch(r, source, n, op.weight, 0 if op.transposed else 1, "read")
        _touch(r, target, n, op.weight, 1 if op.transposed else 0, "write")
    elif op.groups == channels == out:
        r.unite(source, target)
        r.restrict(source, GaugeGroup.scaled(channels))
        _touch(r, target, n, op.weight, 0, "through")
    else:
        for slot in (source, target):
            r.close(slot, f"a convolution in {op.groups} groups at {n.tap or n.name}")
    _touch(r, target, n, op.bias, 0, "write")


def _pointwise(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    if isinstance(n.op, ir.PointwiseOp):
        _through(r, n, inputs)
        _limit(r, n, n.op.pointwise.gauge)


def _affine(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    """Diagonal maps and shifts carry over monomially; one number for all shifts kills everything but permutations."""
    op = n.op
    if not isinstance(op, ir.ChannelAffine):
        return
    _through(r, n, inputs)
    for a in axes_of(n):
        slot, size = (n.name, a), n.shape[a]
        for param in op.params:
            if param.shape[a] > 1:
                _touch(r, slot, n, param, a, "through" if param is op.scale else "write")
        if op.shift is not None and op.shift.shape[a] == 1 and bool(op.shift.array.any()):
            r.restrict(slot, GaugeGroup.permutation(size))
        elif op.scale is not None and op.scale.shape[a] > 1:
            r.restrict(slot, GaugeGroup(size, True, "nonzero", "monomial", "real"))


def _add(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    _through(r, n, inputs)
    _limit(r, n, GaugeGroup.general_linear)


def _product(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    _through(r, n, inputs)
    _limit(r, n, GaugeGroup.permutation)


def _concat(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    if not isinstance(n.op, ir.Concat):
        return
    axis, offset = n.op.axis, 0
    _through(r, n, inputs, frozenset({axis}))
    for i in inputs:
        r.links.append(((n.name, axis), offset, (i.name, axis)))
        offset += i.shape[axis]


def _pool(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    if isinstance(n.op, ir.Pool):
        grid = frozenset(range(len(n.shape) - len(n.op.kernel), len(n.shape)))
        _through(r, n, inputs, grid)
        if n.op.reduction == "max":
            _limit(r, n, GaugeGroup.positively_scaled, grid)
        elif any(p != (0, 0) for p in n.op.padding):
            _limit(r, n, GaugeGroup.general_linear, grid)


def _reduce(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    op = n.op
    if not isinstance(op, ir.Reduce):
        return
    source = inputs[0]
    kept = [a for a in range(len(source.shape)) if a not in op.axes]
    for a in axes_of(source):
        slot, size = (source.name, a), source.shape[a]
        if a in op.axes:
            r.restrict(slot, GaugeGroup.orthogonal(size) if op.reduction == "norm" else GaugeGroup.permutation(size))
            continue
        target = (n.name, a if op.keepdim else kept.index(a))
        r.unite(target, slot)
        if op.reduction in ("amax", "amin"):
            r.restrict(slot, GaugeGroup(size, scale="positive", shift="real"))
        elif op.reduction == "norm":
            r.restrict(slot, GaugeGroup.positively_scaled(size))
        elif op.reduction == "sum":
            r.restrict(slot, GaugeGroup.general_linear(size))


def _permute(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    if isinstance(n.op, ir.Permute):
        for a in axes_of(n):
            r.unite((n.name, a), (inputs[0].name, n.op.dims[a]))


def _index(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    op, source = n.op, inputs[0]
    if not isinstance(op, ir.Index):
        return
    for a in axes_of(source):
        if a != op.axis:
            r.unite((n.name, a - (op.squeeze and a > op.axis)), (source.name, a))
    slot, size = (source.name, op.axis), source.shape[op.axis]
    start, count = op.index[0], len(op.index)
    if op.squeeze:
        parts = GaugeGroup.affine(start), GaugeGroup.trivial(1), GaugeGroup.affine(size - start - 1)
        r.restrict(slot, GaugeGroup.product(*(p for p in parts if p.dimension)))
    elif op.index == tuple(range(start, start + count)):
        r.links.append((slot, start, (n.name, op.axis)))
    else:
        for s in (slot, (n.name, op.axis)):
            r.close(s, f"{op.spelling} at {n.tap or n.name} rearranges it")


def _expand(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    _through(r, n, inputs)


def _softmax(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    _through(r, n, inputs)
    _limit(r, n, GaugeGroup.permutation)


def _norm(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    """Permutations along the axes that are normalised (orthogonal for RMS without gain), signs along the others."""
    op = n.op
    if not isinstance(op, ir.LayerNorm):
        return
    _through(r, n, inputs)
    for a in axes_of(n):
        slot, size = (n.name, a), n.shape[a]
        varies = any(p.shape[a] > 1 for p in op.params)
        for param in op.params:
            if param.shape[a] > 1:
                _touch(r, slot, n, param, a, "through" if param is op.weight else "write")
        if a not in op.axes:
            r.restrict(slot, GaugeGroup.signed(size))
        elif op.rms and not varies:
            r.restrict(slot, GaugeGroup.orthogonal(size))
        else:
            r.restrict(slot, GaugeGroup.signed(size) if op.rms else GaugeGroup.permutation(size))


def _matmul(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    left, right = inputs
    last = len(n.shape) - 1
    _through(r, n, [left], frozenset({last}))
    _through(r, n, [right], frozenset({last - 1}))
    inner = (left.name, last), (right.name, last - 1)
    if all(s in r.parent for s in inner):
        r.unite(*inner)
        r.restrict(inner[0], GaugeGroup.orthogonal(left.shape[last]))


def _reshape(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    source = inputs[0]
    for ins, outs in axis_groups(source.shape, n.shape):
        before = [(source.name, a) for a in ins if a != source.batch_axis and source.shape[a] > 1]
        after = [(n.name, a) for a in outs if a != n.batch_axis and n.shape[a] > 1]
        mixed = source.batch_axis in ins and (len(ins) > 1 or len(outs) > 1) and (
            source.shape[source.batch_axis] != 1) and bool(before or after)  # fmt: skip
        if mixed or (len(before) > 1 and len(after) > 1):
            for slot in before + after:
                r.close(slot, f"a reshape at {n.tap or n.name} mixes it with other axes")
        elif len(before) == len(after) == 1:
            r.unite(before[0], after[0])
        elif len(after) == 1:
            _factor(r, after[0], tuple(before))
        elif len(before) == 1:
            _factor(r, before[0], tuple(after))


def _factor(r: Relations, whole: Slot, parts: tuple[Slot, ...]) -> None:
    """The slot runs over the product of the parts, row-major."""
    root = r.root(whole)
    known = r.factors.get(root)
    if known is None:
        r.factors[root] = parts
    elif [r.size[r.root(s)] for s in known] == [r.size[r.root(s)] for s in parts]:
        for s, t in zip(known, parts, strict=True):
            r.unite(s, t)
    else:
        for slot in (whole, *parts):
            r.close(slot, "two reshapes split it differently")


def _closed(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    reason = n.op.reason if isinstance(n.op, ir.Opaque) else "no rule says which axes it ties"
    target = n.op.target if isinstance(n.op, ir.Opaque) else n.op.kind
    for m in (n, *inputs):
        for a in axes_of(m):
            r.close((m.name, a), f"{target} at {n.tap or n.name}: {reason}")


def _free(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    """A constant: its axes are a space that nobody writes; the numbers are a parameter along each."""
    if isinstance(n.op, ir.Constant):
        for a in axes_of(n):
            _touch(r, (n.name, a), n, n.op.value, a, "write")


def _pad(r: Relations, n: ir.Node, inputs: list[ir.Node]) -> None:
    if isinstance(n.op, ir.Pad):
        padded = frozenset(a for a, p in enumerate(n.op.padding) if p != (0, 0))
        _through(r, n, inputs, padded)
        if n.op.mode == "constant":
            _limit(r, n, GaugeGroup.general_linear if n.op.value == 0 else GaugeGroup.permutation, padded)


HANDLERS: dict[type[ir.Op], Handler] = {
    ir.Input: _input, ir.Output: _output, ir.Linear: _linear, ir.Conv: _conv, ir.Embedding: _embedding,
    ir.PointwiseOp: _pointwise, ir.ChannelAffine: _affine, ir.Add: _add, ir.Multiply: _product, ir.Divide: _product,
    ir.Concat: _concat, ir.Pool: _pool, ir.Reduce: _reduce, ir.Permute: _permute, ir.Index: _index,
    ir.Expand: _expand, ir.Identity: _expand, ir.Softmax: _softmax, ir.LayerNorm: _norm, ir.MatMul: _matmul,
    ir.Reshape: _reshape, ir.Constant: _free, ir.Pad: _pad,
}  # fmt: skip
