"""Specs: what they do to tensors, what they refuse, and that their spelling reads back."""

import numpy as np
import pytest
import torch

from intertwiner.algebra import alternating, cyclic, dihedral, direct_product, from_table, parse_group, symmetric
from intertwiner.errors import CorruptFile, GroupError, NotAnAction, ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import (
    SPELLINGS,
    OpaqueAction,
    Symmetry,
    TensorAction,
    custom,
    identity_first,
    image,
    invariant,
    onehot,
    parse_action,
    rows,
    same,
    several,
    shift,
    tokens,
    vector,
)

X = torch.arange(2 * 3 * 4 * 4, dtype=torch.float64).reshape(2, 3, 4, 4)


def acting(spec, group, shape, name):
    return Symmetry(group, spec, invariant()).bind(shape, (1,)).input_action(name)[0]


@pytest.mark.parametrize(
    ("group", "name", "expected"),
    [
        (cyclic(2), "r", X.flip(-1, -2)),
        (cyclic(4), "r", torch.rot90(X, 1, (-2, -1))),
        (dihedral(4), "r", torch.rot90(X, 1, (-2, -1))),
        (dihedral(4), "s", X.flip(-1)),
        (dihedral(4), "r2", X.flip(-1, -2)),
        (dihedral(4), "rs", torch.rot90(X.flip(-1), 1, (-2, -1))),
        (dihedral(2), "r", X.flip(-1, -2)),
        (dihedral(2), "s", X.flip(-1)),
        (dihedral(1), "s", X.flip(-1)),
    ],
)
def test_images_turn_as_torch_turns_them(group, name, expected):
    assert torch.equal(acting(image(group), group, (3, 4, 4), name).apply(X), expected)


def test_klein_flips_both_ways():
    group = parse_group("C2xC2")
    first, second = image(group).on(group, (3, 4, 4))
    assert torch.equal(first.apply(X), X.flip(-1)) and torch.equal(second.apply(X), X.flip(-2))


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("left-right", X.flip(-1)),
        ("up-down", X.flip(-2)),
        ("half-turn", X.flip(-1, -2)),
        ("transpose", X.transpose(-1, -2)),
        ("anti-transpose", X.transpose(-1, -2).flip(-1, -2)),
        ("identity", X),
        ([np.array([[0, 1], [1, 0]])], X.transpose(-1, -2)),
    ],
)
def test_the_mirror_can_be_chosen(flip, expected):
    assert torch.equal(acting(image(flip=flip), cyclic(2), (3, 4, 4), "r").apply(X), expected)


def test_a_mirror_for_a_dihedral_group_keeps_its_turn():
    r, s = image(flip="transpose").on(dihedral(4), (3, 4, 4))
    assert torch.equal(r.apply(X), torch.rot90(X, 1, (-2, -1))) and torch.equal(s.apply(X), X.transpose(-1, -2))
    clockwise = image(flip=("quarter-turn-clockwise", "up-down"))
    assert torch.equal(acting(clockwise, dihedral(4), (3, 4, 4), "r").apply(X), torch.rot90(X, -1, (-2, -1)))


def test_grids_that_are_not_square_refuse_turns_only():
    with pytest.raises(ShapeMismatch, match=r"input, sample shape \(3, 4, 5\).*generator r.*4 x 5"):
        Symmetry(dihedral(4), image(), invariant()).bind((3, 4, 5), (1,))
    Symmetry(dihedral(2), image(), invariant()).bind((3, 4, 5), (1,))
    with pytest.raises(ShapeMismatch, match="size="):
        image().on(cyclic(2), (784,))


def test_flat_images_and_channels_last():
    flat = acting(image(size=(4, 4)), cyclic(4), (48,), "r")
    assert torch.equal(flat.apply(X.flatten(1)), torch.rot90(X, 1, (-2, -1)).flatten(1))
    last = acting(image(axes=(0, 1)), cyclic(4), (4, 4, 3), "r")
    assert torch.equal(last.apply(X.permute(0, 2, 3, 1)), torch.rot90(X, 1, (-2, -1)).permute(0, 2, 3, 1))
    grey = acting(image(size=4), cyclic(4), (16,), "r")
    assert torch.equal(grey.apply(X[:, 0].flatten(1)), torch.rot90(X[:, 0], 1, (-2, -1)).flatten(1))
    with pytest.raises(ShapeMismatch, match="4 x 4"):
        image(size=4).on(cyclic(4), (30,))


def test_channels_move_with_the_grid():
    spec = image(channels=[1, 0, 2], flip="left-right")
    assert torch.equal(acting(spec, cyclic(2), (3, 4, 4), "r").apply(X), X.flip(-1)[:, [1, 0, 2]])
    signs = image(channels=[Monomial([0, 1, 2], [1.0, -1.0, 1.0])], flip="left-right")
    assert torch.equal(
        acting(signs, cyclic(2), (3, 4, 4), "r").apply(X), X.flip(-1) * torch.tensor([1.0, -1, 1])[:, None, None]
    )
    with pytest.raises(ShapeMismatch, match="2 channels"):
        image(channels=[1, 0]).on(cyclic(2), (3, 4, 4))
    last = image(channels=[1, 0, 2], axes=(0, 1)).on(cyclic(2), (4, 4, 3))[0]
    y = X.permute(0, 2, 3, 1)
    assert torch.equal(last.apply(y), y.flip(1, 2)[..., [1, 0, 2]])


def test_grids_of_one_and_three_axes():
    line = acting(image(flip="reverse"), cyclic(2), (3, 5), "r")
    x = torch.randn(2, 3, 5)
    assert torch.equal(line.apply(x), x.flip(-1))
    cube = torch.randn(2, 3, 3, 3)
    turn = image(flip=[np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])])
    moved = acting(turn, cyclic(4), (3, 3, 3), "r").apply(cube)
    assert torch.equal(moved, torch.rot90(cube, 1, (1, 2)))


def test_shifts_roll():
    assert torch.equal(acting(shift(), cyclic(4), (3, 4, 4), "r").apply(X), X.roll(1, -1))
    both = direct_product(cyclic(2), cyclic(4))
    first, second = shift().on(both, (3, 4, 4))
    assert torch.equal(first.apply(X), X.roll(2, -2)) and torch.equal(second.apply(X), X.roll(1, -1))
    r, s = shift().on(dihedral(4), (4,))
    assert r.flat().index.tolist() == [1, 2, 3, 0] and s.flat().index.tolist() == [0, 3, 2, 1]
    with pytest.raises(ShapeMismatch, match="3 steps"):
        shift().on(cyclic(3), (3, 4, 4))
    with pytest.raises(WrongUse, match="cyclic or dihedral"):
        shift().on(symmetric(3), (6,))


def test_groups_without_a_usual_action_on_images_are_told():
    with pytest.raises(WrongUse, match="flip="):
        image(symmetric(4))
    with pytest.raises(WrongUse, match="no usual action"):
        image(cyclic(3))
    with pytest.raises(WrongUse, match="upside"):
        image(flip="upside")
    with pytest.raises(WrongUse, match="signed permutation"):
        image(flip=[np.array([[0.6, -0.8], [0.8, 0.6]])])


def test_vectors():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert acting(vector(perm=[1, 2, 0]), cyclic(3), (3,), "r").apply(x).tolist() == [[3, 1, 2]]
    assert acting(vector(sign=[1, -1, 1]), cyclic(2), (3,), "r").apply(x).tolist() == [[1, -2, 3]]
    both = vector(perm=[1, 0, 2], sign=[-1, -1, 1])
    assert acting(both, cyclic(2), (3,), "r").apply(x).tolist() == [[-2, -1, 3]]
    turn = vector(matrix=[[0.0, -1.0], [1.0, 0.0]])
    assert isinstance(turn.on(cyclic(4), (2,))[0].flat(), Monomial)
    assert acting(vector(), symmetric(4), (4,), 5).is_permutation
    assert acting(vector(), cyclic(5), (2,), "r").flat().shape == (2, 2)
    # A leading axis of the sample is kept: features stand last.
    assert vector(perm=[1, 0]).on(cyclic(2), (7, 2))[0].factors[0].axes == (1,)


def test_vectors_refuse_what_does_not_fit():
    with pytest.raises(ShapeMismatch, match="dimension 3"):
        vector(perm=[1, 2, 0]).on(cyclic(3), (4,))
    with pytest.raises(WrongUse, match=r"2 \(r, s\), got 1"):
        vector(perm=[1, 2, 0]).on(dihedral(3), (3,))
    with pytest.raises(NotAnAction, match="no permutation"):
        vector(perm=[1, 1, 0])
    with pytest.raises(NotAnAction, match="1 or -1"):
        vector(sign=[2, 1])
    with pytest.raises(ShapeMismatch, match="with 2 signs"):
        vector(perm=[1, 2, 0], sign=[1, 1])
    with pytest.raises(WrongUse, match="not both"):
        vector(perm=[1, 0], matrix=np.eye(2))
    with pytest.raises(ShapeMismatch, match="perm="):
        vector().on(symmetric(4), (5,))
    with pytest.raises(ShapeMismatch, match="one number per sample"):
        vector(sign=[-1]).on(cyclic(2), ())


def test_tokens_and_rows():
    x = torch.randn(2, 4, 5)
    g = symmetric(4).generators[0]
    p = symmetric(4).permutations[g].tolist()
    moved = acting(tokens(), symmetric(4), (4, 5), g).apply(x)
    assert torch.equal(moved[:, p], x)
    ids = torch.arange(8).reshape(2, 4)
    assert torch.equal(tokens(perm=[1, 2, 3, 0]).on(cyclic(4), (4,))[0].apply(ids), ids.roll(1, 1))
    both = rows(perm=[1, 0, 2, 3], features=vector(sign=[-1] * 5)).on(cyclic(2), (4, 5))[0]
    assert torch.equal(both.apply(x), -x[:, [1, 0, 2, 3]])
    with pytest.raises(ShapeMismatch, match="5 rows"):
        rows(perm=[1, 0]).on(cyclic(2), (5, 3))


def codes(group, *elements):
    return torch.cat([torch.nn.functional.one_hot(torch.as_tensor(e), group.order) for e in elements], 1).double()


@pytest.mark.parametrize("group", [symmetric(3), dihedral(4), alternating(4), cyclic(6)])
def test_composition_is_equivariant_under_both_sides(group):
    pair = direct_product(group, group)
    n = group.order
    x, y = (torch.from_numpy(a.ravel()) for a in np.meshgrid(np.arange(n), np.arange(n)))
    task = codes(group, group.multiply(x.numpy(), y.numpy()))
    bound = Symmetry(pair, onehot("x", "y"), onehot("z")).bind((2 * n,), (n,))

    def lookup(t):
        return codes(group, group.multiply(t[:, :n].argmax(1).numpy(), t[:, n:].argmax(1).numpy()))

    for g in (*pair.generators, pair.order - 1):
        moved = bound.act_on_input(g, codes(group, x, y))
        assert torch.equal(lookup(moved), bound.act_on_output(g, task))
    # One group on the left only.
    left = Symmetry(group, onehot("x", "y"), onehot("z")).bind((2 * n,), (n,))
    for g in range(n):
        assert torch.equal(lookup(left.act_on_input(g, codes(group, x, y))), left.act_on_output(g, task))
    # A wrong convention is not equivariant: y -> h y.
    wrong = Symmetry(pair, onehot("gx", "hy"), onehot("gzh")).bind((2 * n,), (n,))
    h = int(pair.join([0, 1]))
    equal = torch.equal(lookup(wrong.act_on_input(h, codes(group, x, y))), wrong.act_on_output(h, task))
    assert equal is False


def test_words_say_who_multiplies():
    group = symmetric(3)
    e = np.arange(6)
    for word, image_of in {
        "gx": lambda g: group.multiply(g, e),
        "xg": lambda g: group.multiply(e, group.inverse(g)),
        "gxg": lambda g: group.conjugate(g, e),
        "1x": lambda g: e,
    }.items():
        bound = Symmetry(group, onehot(word), invariant()).bind((6,), (1,))
        for g in range(6):
            assert bound.input_action(g)[0] == TensorAction.of((6,), {(0,): Monomial(image_of(g))})


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [(("q",), WrongUse, "no short form"), (("xyz",), WrongUse, "cannot read"), ((), WrongUse, "one word")],
)
def test_words_that_cannot_be_read(words, error, message):
    with pytest.raises(error, match=message):
        onehot(*words)


def test_onehot_refuses_what_does_not_fit():
    with pytest.raises(ShapeMismatch, match=r"2 x 6 entries"):
        onehot("x", "y").on(symmetric(3), (11,))
    with pytest.raises(ShapeMismatch, match=r"2 x 36 or 2 x 6"):
        onehot("x", "y").on(direct_product(symmetric(3), symmetric(3)), (11,))
    with pytest.raises(WrongUse, match="second acting group"):
        onehot("yh").on(symmetric(3), (6,))
    with pytest.raises(WrongUse, match="elements="):
        onehot("x", elements=[0, 0, 1]).on(cyclic(3), (3,))


def test_a_learned_table_in_any_order_can_be_used():
    group, rng = symmetric(3), np.random.default_rng(3)
    hidden = rng.permutation(6)
    while hidden[0] == 0:
        hidden = rng.permutation(6)
    learned = np.empty((6, 6), dtype=int)
    learned[np.ix_(hidden, hidden)] = hidden[group.table]
    with pytest.raises(GroupError):
        from_table(learned)
    table, places = identity_first(learned)
    found = from_table(table)
    bound = Symmetry(found, onehot("x", elements=places), invariant()).bind((6,), (1,))
    for place in range(6):
        moved = bound.input_action(int(places[place]))[0].flat()
        assert moved.index.tolist() == learned[place].tolist()
    with pytest.raises(GroupError, match="identity"):
        identity_first(np.array([[1, 1], [0, 0]]))


def test_s5_on_both_sides_goes_through_the_factors():
    pair = direct_product(symmetric(5), symmetric(5))
    bound = Symmetry(pair, onehot("x", "y"), onehot("z")).bind((240,), (120,))
    assert bound.input_action(14_399)[0].is_permutation
    assert len(bound.inputs[0]._products) <= 4 and all(len(f) < 40 for f in bound.inputs[0]._factors)


def test_custom_maps_become_matrices_where_they_can():
    swap = custom([lambda x: -x.flip(-1)])
    (action,) = swap.on(cyclic(2), (2, 3))
    assert action == TensorAction.of((2, 3), {(1,): Monomial([2, 1, 0], [-1.0, -1.0, -1.0])})
    big = custom([lambda x: x.flip(-1)]).on(cyclic(2), (3, 64, 64))[0]
    assert isinstance(big, TensorAction) and big.factors[0].axes == (2,)
    turn = torch.tensor([[-0.5, -(3**0.5) / 2], [3**0.5 / 2, -0.5]], dtype=torch.float64)
    (dense,) = custom([lambda x: x @ turn.T.to(x.dtype)]).on(cyclic(3), (4, 2))
    assert isinstance(dense, TensorAction) and [f.axes for f in dense.factors] == [(1,)]
    scaled = custom([lambda x: torch.stack([2 * x[:, 1], x[:, 0] / 2], 1)]).on(cyclic(2), (2,))[0]
    assert isinstance(scaled.flat(), Monomial)


def test_custom_maps_that_are_not_linear_stay_opaque_and_are_still_checked():
    spec = custom([lambda x: torch.cat([x[:, :1], x[:, :1] ** 2 - x[:, 1:]], 1)])
    bound = Symmetry(cyclic(2), spec, invariant()).bind((2,), (1,))
    action = bound.input_action(1)[0]
    assert isinstance(action, OpaqueAction) and not action.is_identity and not bound.has_matrices
    x = torch.tensor([[2.0, 1.0]])
    assert action.apply(x).tolist() == [[2, 3]] and bound.act_on_input(0, x).tolist() == x.tolist()
    plain = TensorAction.identity((2,))
    assert (plain @ action).apply(x).tolist() == (action @ plain).apply(x).tolist() == [[2, 3]]
    with pytest.raises(NotAnAction):
        Symmetry(cyclic(2), custom([lambda x: x + 1]), invariant()).bind((2,), (1,))


def turn_by(g, x):
    return torch.rot90(x, g, (-2, -1))


def test_custom_maps_of_elements():
    bound = Symmetry(cyclic(4), turn_by, invariant()).bind((3, 4, 4), (1,))
    assert torch.equal(bound.act_on_input("r3", X), torch.rot90(X, 3, (-2, -1)))

    def only_on_generators(g, x):
        return torch.rot90(x, 1, (-2, -1)) if g == 1 else x

    with pytest.raises(NotAnAction, match="acts otherwise"):
        Symmetry(cyclic(4), only_on_generators, invariant()).bind((3, 4, 4), (1,))


def test_custom_maps_by_generator_name():
    spec = custom({"r": lambda x: torch.rot90(x, 1, (-2, -1)), "s": lambda x: x.flip(-1)})
    assert spec.on(dihedral(4), (4, 4)) == image().on(dihedral(4), (4, 4))
    with pytest.raises(WrongUse, match="lacks the generator s"):
        custom({"r": turn_by}).on(dihedral(4), (4, 4))
    with pytest.raises(ShapeMismatch, match="custom action turned"):
        custom([lambda x: x[:, :1]]).on(cyclic(2), (2,))
    with pytest.raises(NotAnAction, match="dtype"):
        custom([lambda x: x.float()]).on(cyclic(2), (2,))
    with pytest.raises(WrongUse, match="callable"):
        custom(3)
    with pytest.raises(ZeroDivisionError) as caught:
        custom([lambda x: 1 / 0]).on(cyclic(2), (2,))
    assert "custom action" in caught.value.__notes__[0]


ROUND_TRIP = [
    "image",
    "image:flip=up-down",
    "image:flip=quarter-turn;transpose",
    "image:flip=[0 1 0/1 0 0/0 0 1]",
    "image:size=28x28",
    "image:axes=0 1",
    "image:flip=left-right:perm=1 0 2",
    "image:perm=1 0:sign=-1 1",
    "image:shift",
    "image:shift:size=4:perm=1 0",
    "vector",
    "vector:perm=1 0 3 2",
    "vector:perm=1 0 2;0 2 1",
    "vector:perm=0 1:sign=-1 -1",
    "vector:matrix=[0.5 -0.25/1.0 0.1]",
    "tokens",
    "tokens:perm=1 2 0",
    "rows:perm=1 2 0",
    "onehot:x,y",
    "onehot:gx,1y,gzh",
    "onehot:x:elements=1 0 2",
    "invariant",
    "same",
    "same:planes",
    "policy=same|value=invariant",
    "image|invariant",
]


@pytest.mark.parametrize("text", ROUND_TRIP)
def test_spellings_read_back(text):
    spec = parse_action(text)
    assert str(spec) == text and parse_action(str(spec)) == spec and hash(spec) == hash(parse_action(text))


def test_the_table_for_help_holds_real_spellings():
    for text, meaning in SPELLINGS:
        assert meaning
        if "file" not in text and ".." not in text and "module" not in text and "`" not in text:
            for one in text.split(", "):
                parse_action(one)


def test_looser_spellings():
    assert parse_action("vector:perm=1,0, 2") == vector(perm=[1, 0, 2])
    assert parse_action("vector:sign=- + -") == vector(sign=[-1, 1, -1])
    assert parse_action(" onehot: x, y") == onehot("x", "y")
    assert parse_action(f"{__name__}:turn_by") == custom(turn_by)
    assert several(a=image(), b=invariant()) == parse_action("a=image|b=invariant")
    assert several(image(), invariant()) == parse_action("image|invariant") != parse_action("image|same")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture", "expected one of image"),
        ("image:perms=1 0", "cannot read"),
        ("invariant:perm=1 0", "does not take perm"),
        ("tokens:sign=1 -1", "does not take sign"),
        ("vector:perm=1 x", "no list of numbers"),
        ("vector:perm=1 0:perm=0 1", "twice"),
        ("vector:matrix=[1 0/1]", "differ in length"),
        ("image:shift:flip=up-down", "does not take flip"),
        ("a=image|invariant", "name all"),
        ("a=image|a=same", "twice"),
        ("no_such_module:f", "no module"),
        ("math:no_such_function", "has no"),
        ("os;ls:x", "no action"),
        ("vector:matrix=m.txt", ".npy, .npz and .csv"),
    ],
)
def test_spellings_that_cannot_be_read(text, message):
    with pytest.raises(WrongUse, match=message):
        parse_action(text)


def test_matrix_files(tmp_path):
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    flip = np.diag([-1.0, 1.0])
    np.save(tmp_path / "one.npy", np.stack([turn, flip]))
    np.savez(tmp_path / "two.npz", a_r=turn, b_s=flip)
    np.savetxt(tmp_path / "three.csv", np.concatenate([turn, flip]), delimiter=",")
    expected = vector(matrix=[turn, flip])
    for name in ("one.npy", "two.npz", "three.csv"):
        spec = parse_action(f"vector:matrix={tmp_path / name}")
        assert spec == expected
        Symmetry(dihedral(4), spec, invariant()).bind((2,), (1,))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing more")
    np.save(tmp_path / "long.npy", np.ones((3, 2, 5)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("broken.npz", "long.npy", "objects.npy", "absent.npy"):
        with pytest.raises(CorruptFile, match=name):
            parse_action(f"vector:matrix={tmp_path / name}")


def test_same_means_like_the_input():
    bound = Symmetry(dihedral(4), image(), same()).bind((3, 4, 4), (8, 8))
    assert bound.output_action("r")[0] == image().on(dihedral(4), (8, 8))[0]
    named = Symmetry(cyclic(2), {"a": vector(sign=[-1]), "b": image()}, same("b"))
    assert named.bind({"a": (1,), "b": (2, 2)}, (3, 3)).output_action(1)[0] == image().on(cyclic(2), (3, 3))[0]
    with pytest.raises(WrongUse, match="say which"):
        Symmetry(cyclic(2), (image(), invariant()), same()).bind([(2, 2), (1,)], (2, 2))
    with pytest.raises(WrongUse, match="no input has this name"):
        Symmetry(cyclic(2), image(), same("b")).bind((2, 2), (2, 2))
    with pytest.raises(WrongUse, match="on_output"):
        Symmetry(cyclic(2), same(), image()).bind((2, 2), (2, 2))
