"""Slots, the axes of values, with what ties them: a union-find, products, side-by-side links, and gauge groups.

A *slot* is a pair (node, axis). A class of united slots has the gauge group that every operator touching it
tolerates; intersections only get smaller, so carrying them along the ties ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from intertwiner.gauge import GaugeGroup

Slot = tuple[str, int]


@dataclass(frozen=True)
class Touch:
    """A parameter axis that reads or writes a slot."""

    slot: Slot
    node: str
    param: str
    axis: int
    role: str


@dataclass
class Relations:
    """Slots with their ties; filled by `relate`, read by ``spaces.latent_spaces``."""

    parent: dict[Slot, Slot] = field(default_factory=dict)
    size: dict[Slot, int] = field(default_factory=dict)
    gauge: dict[Slot, GaugeGroup] = field(default_factory=dict)
    reasons: dict[Slot, list[str]] = field(default_factory=dict)
    given: dict[Slot, str] = field(default_factory=dict)
    factors: dict[Slot, tuple[Slot, ...]] = field(default_factory=dict)
    links: list[tuple[Slot, int, Slot]] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)

    def new(self, slot: Slot, size: int) -> None:
        self.parent[slot], self.size[slot] = slot, size
        self.gauge[slot], self.reasons[slot] = GaugeGroup.affine(size), []

    def root(self, slot: Slot) -> Slot:
        while self.parent[slot] != slot:
            self.parent[slot] = self.parent[self.parent[slot]]
            slot = self.parent[slot]
        return slot

    def unite(self, a: Slot, b: Slot) -> None:
        a, b = self.root(a), self.root(b)
        if a == b:
            return
        self.parent[b] = a
        self.gauge[a] = self.gauge[a] & self.gauge[b]
        self.reasons[a] += self.reasons.pop(b)
        if b in self.given:
            self.given.setdefault(a, self.given.pop(b))
        first, second = self.factors.get(a), self.factors.pop(b, None)
        if second is None:
            return
        if first is None:
            self.factors[a] = second
        elif [self.size[self.root(s)] for s in first] == [self.size[self.root(s)] for s in second]:
            for s, t in zip(first, second, strict=True):
                self.unite(s, t)
        else:
            self.close(a, "two reshapes split it differently")

    def restrict(self, slot: Slot, gauge: GaugeGroup) -> None:
        slot = self.root(slot)
        self.gauge[slot] = self.gauge[slot] & gauge

    def close(self, slot: Slot, reason: str) -> None:
        """No gauge at all, for a stated reason."""
        slot = self.root(slot)
        self.gauge[slot] = GaugeGroup.trivial(self.size[slot])
        if reason not in self.reasons[slot]:
            self.reasons[slot].append(reason)

    def fix(self, slot: Slot, what: str) -> None:
        """The action is given here: the space of an input or output."""
        slot = self.root(slot)
        self.given.setdefault(slot, what)
        self.gauge[slot] = GaugeGroup.trivial(self.size[slot])


def axis_groups(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The finest groups of consecutive axes whose products agree; axes of size one join no group.

    Example:
        >>> axis_groups((5, 4, 3, 3), (5, 36))
        [([0], [0]), ([1, 2, 3], [1])]
    """
    ins, outs = ([a for a, s in enumerate(shape) if s != 1] for shape in (before, after))
    groups: list[tuple[list[int], list[int]]] = []
    while ins and outs:
        left, right = [ins.pop(0)], [outs.pop(0)]
        p, q = before[left[0]], after[right[0]]
        while p != q and (ins or outs):
            if p < q and ins:
                left.append(ins.pop(0))
                p *= before[left[-1]]
            elif outs:
                right.append(outs.pop(0))
                q *= after[right[-1]]
            else:
                break
        groups.append((left, right))
    return groups


def settle(r: Relations) -> None:
    """Carry restrictions along products and side-by-side ties until nothing changes."""
    _join_links(r)
    changed = True
    while changed:
        before = dict(r.gauge), dict(r.given)
        for whole, start, part in r.links:
            _settle_link(r, r.root(whole), start, r.root(part))
        for whole, parts in list(r.factors.items()):
            _settle_product(r, r.root(whole), tuple(r.root(p) for p in parts))
        changed = before != (r.gauge, r.given)


def _join_links(r: Relations) -> None:
    """The same coordinates taken twice are one slot; ranges that overlap in part have no common gauge."""
    count = -1
    while count != len({r.root(s) for s in r.parent}):
        count = len({r.root(s) for s in r.parent})
        taken: dict[tuple[Slot, int, int], Slot] = {}
        for whole, start, part in r.links:
            key = r.root(whole), start, r.size[part]
            r.unite(taken.setdefault(key, part), part)
    ranges = {(r.root(whole), start, start + r.size[part]): part for whole, start, part in r.links}
    for (whole, a, b), part in ranges.items():
        if any(w == whole and (c, d) != (a, b) and c < b and a < d for w, c, d in ranges):
            for slot in (whole, part):
                r.close(slot, "slices of it overlap")


def _settle_link(r: Relations, whole: Slot, start: int, part: Slot) -> None:
    size, n = r.size[part], r.size[whole]
    rest = GaugeGroup.affine(start), r.gauge[part], GaugeGroup.affine(n - start - size)
    r.gauge[whole] = r.gauge[whole] & GaugeGroup.product(*(g for g in rest if g.dimension))
    inside = [
        block
        for block, where in zip(r.gauge[whole].blocks or (r.gauge[whole],), r.gauge[whole].slices, strict=True)
        if where.start >= start and where.stop <= start + size
    ]
    if sum(b.dimension for b in inside) == size:
        r.gauge[part] = r.gauge[part] & GaugeGroup.product(*inside)
    elif r.gauge[whole].mixing == "none":
        r.gauge[part] = r.gauge[part] & GaugeGroup.trivial(size)


def _settle_product(r: Relations, whole: Slot, parts: tuple[Slot, ...]) -> None:
    """What the whole tolerates of each entry its factors must tolerate too, and the other way round."""
    for p in parts:
        if whole in r.given:
            r.given.setdefault(p, r.given[whole])
        elif p in r.given:
            r.given.setdefault(whole, r.given[p])
    for p in parts:
        g = r.gauge[whole]
        mixing = "none" if g.mixing == "none" else "monomial" if g.blocks or g.mixing == "monomial" else "linear"
        r.gauge[p] = r.gauge[p] & GaugeGroup(r.size[p], g.sign, g.scale, mixing, g.shift)
        if p in r.given:
            r.gauge[p] = GaugeGroup.trivial(r.size[p])
