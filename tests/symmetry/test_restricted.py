"""A symmetry seen by a subgroup: the same maps for fewer elements, whatever the spec, and back from JSON."""

import numpy as np
import pytest
import torch

from intertwiner.algebra import cyclic, dihedral, direct_product, from_table, subgroup_classes, symmetric
from intertwiner.errors import GroupError, WrongUse
from intertwiner.symmetry import (
    Symmetry,
    custom,
    image,
    invariant,
    onehot,
    parse_action,
    same,
    several,
    shift,
    tokens,
    vector,
)

SWAPS = [[1, 2, 3, 0], [0, 3, 2, 1]]
SPECS = [
    (dihedral(4), image(), (2, 5, 5)),
    (dihedral(4), image(channels=SWAPS, size=3), (36,)),
    (dihedral(4), vector(perm=SWAPS, sign=[[1, 1, 1, 1], [-1, -1, -1, -1]]), (3, 4)),
    (dihedral(4), vector(), (2,)),
    (symmetric(4), tokens(), (4, 2)),
    (symmetric(3), onehot("gx", "gxg"), (12,)),
    (direct_product(cyclic(4), cyclic(2)), shift(), (1, 4, 6)),
    (cyclic(4), custom(lambda g, x: torch.rot90(x, g, (-2, -1))), (3, 3)),
]


@pytest.mark.parametrize(("group", "spec", "shape"), SPECS, ids=lambda v: getattr(v, "text", None))
def test_every_subgroup_moves_tensors_as_the_group_does(group, spec, shape):
    whole, x = Symmetry(group, spec, same()), torch.randn(3, *shape, dtype=torch.float64)
    bound = whole.bind(shape, shape)
    for h in subgroup_classes(group):
        part = whole.restricted(h)
        assert part.group.order == h.order
        for fewer in (part.bind(shape, shape), bound.restricted(h)):
            for n, g in enumerate(h.elements.tolist()):
                assert part.group.element_name(n) == group.element_name(g)
                (moved,), (wanted,) = fewer.act_on_input(n, (x,)), bound.act_on_input(g, (x,))
                torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-12)
                torch.testing.assert_close(fewer.act_on_output(n, (x,))[0], wanted, rtol=0, atol=1e-12)


def test_subgroups_go_by_generators_by_number_by_name_and_by_class():
    whole = Symmetry(dihedral(4), image(), invariant())
    ways = ["r2;s", ["r2", "s"], [2, 4], "C2v", next(h for h in subgroup_classes(dihedral(4)) if h.name == "C2v")]
    found = [whole.restricted(way) for way in ways]
    assert all(f == found[0] for f in found) and found[0].group.element_names == ("e", "r2", "s", "r2s")
    assert whole.restricted("Cs'") != whole.restricted("Cs"), "the negative control: other subgroups are others"
    assert whole.restricted("r;s") == whole and whole.restricted("e").group.order == 1
    twice = found[0].restricted("s")
    assert twice == whole.restricted("s") and str(twice.on_input) == "under:D4:s:image"


def test_json_and_spelling_read_back():
    triangle = dihedral(3)
    assert triangle.permutations is not None
    table = from_table(triangle.table, name="mine", element_names=triangle.element_names)
    perms = vector(perm=[triangle.permutations[g].tolist() for g in table.generators])
    for whole, h in (
        (Symmetry(dihedral(4), image(), invariant()), "r2;s"),
        (Symmetry(dihedral(4), several(a=image(), b=invariant()), several(p=same("a"))), "r"),
        (Symmetry(table, perms, invariant()), "r"),
    ):
        part = whole.restricted(h)
        assert Symmetry.from_json(part.to_json()) == part != whole
        assert "subgroup" not in whole.to_json()
    named = Symmetry(dihedral(4), image(), invariant()).restricted("r2;s")
    assert parse_action(str(named.on_input)) == named.on_input


def test_what_is_no_subgroup_is_refused_with_the_names():
    whole = Symmetry(dihedral(4), image(), invariant())
    for wrong, words in (("C3", "C2v"), ("r;q", "no element 'q'"), ([9], "0..7"), ("", "identity"), ([], "identity")):
        with pytest.raises(GroupError, match=words):
            whole.restricted(wrong)
    with pytest.raises(GroupError, match="subgroup of C4 was given for D4"):
        whole.restricted(subgroup_classes(cyclic(4))[1])
    with pytest.raises(WrongUse, match="under:GROUP"):
        parse_action("under:D4:image")
    restricted = whole.restricted("r2;s")
    with pytest.raises(WrongUse, match="not the subgroup"):
        Symmetry(cyclic(4), restricted.on_input, invariant()).bind((3, 3), (1,))


def test_a_subgroup_of_a_large_product_needs_no_table_of_it():
    pair = direct_product(symmetric(5), symmetric(5))
    whole = Symmetry(pair, tokens(), invariant())
    left = pair.generators[:2]
    part = whole.restricted(list(left))
    assert part.group.order == 120
    x = torch.arange(10.0).reshape(1, 10, 1)
    moved = part.bind((10, 1), (1,)).act_on_input(part.group.generators[0], (x,))[0].flatten().numpy()
    assert np.array_equal(moved[5:], np.arange(5, 10)) and not np.array_equal(moved[:5], np.arange(5))
