"""Symmetries on several tensors, the group law, and what is refused."""

import importlib.util
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.algebra import cyclic, dihedral, direct_product, from_table, symmetric
from intertwiner.errors import NotAnAction, ShapeMismatch, WrongUse
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import Symmetry, identity_first, image, invariant, law, onehot, same, tokens, vector


def go_symmetry():
    """Planes and globals in; policy and ownership on the board, value and pass without place."""
    heads = {"policy": image(), "pass": invariant(), "value": invariant(), "ownership": image()}
    shapes = {"policy": (9, 9), "pass": (1,), "value": (3,), "ownership": (9, 9)}
    return Symmetry(dihedral(4), (image(), invariant()), heads).bind([(22, 9, 9), (19,)], shapes)


def test_several_inputs_and_named_outputs():
    bound = go_symmetry()
    planes, other = torch.randn(2, 22, 9, 9), torch.randn(2, 19)
    moved = bound.act_on_input("r", (planes, other))
    assert torch.equal(moved[0], torch.rot90(planes, 1, (-2, -1))) and torch.equal(moved[1], other)
    outputs = {k: torch.randn(2, *s) for k, s in zip(bound.output_names, bound.output_shapes, strict=True)}
    turned = bound.act_on_output("r", outputs)
    assert list(turned) == list(outputs) and torch.equal(turned["value"], outputs["value"])
    assert torch.equal(turned["policy"], torch.rot90(outputs["policy"], 1, (-2, -1)))
    shuffled = dict(reversed(outputs.items()))
    assert torch.equal(bound.act_on_output("r", shuffled)["policy"], turned["policy"])
    assert bound.has_matrices and "D4" in repr(bound)
    assert isinstance(bound.act_on_input("r", [planes, other]), list)


@settings(max_examples=30)
@given(st.sampled_from([dihedral(4), symmetric(4), direct_product(symmetric(3), cyclic(2))]), st.data())
def test_actions_of_elements_compose_as_the_elements_do(group, data):
    spec, shape = (image(), (4, 4)) if group.name == "D4" else (tokens(), (group.permutations.shape[1], 2))
    bound = Symmetry(group, spec, invariant()).bind(shape, (1,))
    g, h = (data.draw(st.integers(0, group.order - 1)) for _ in range(2))
    gh = int(group.multiply(g, h))
    assert bound.input_action(gh)[0] == bound.input_action(g)[0] @ bound.input_action(h)[0]
    assert bound.input_action(int(group.inverse(g)))[0] == bound.input_action(g)[0].inverse()


def test_maps_that_are_no_action_are_refused_with_the_numbers():
    with pytest.raises(NotAnAction, match=r"input.*D3.*differ by.*allowed 1e-10"):
        Symmetry(dihedral(3), vector(perm=[[1, 2, 0], [1, 2, 0]]), invariant()).bind((3,), (1,))
    with pytest.raises(NotAnAction, match="output"):
        Symmetry(cyclic(2), invariant(), vector(perm=[1, 2, 0])).bind((3,), (3,))
    pair = direct_product(cyclic(2), cyclic(2))
    with pytest.raises(NotAnAction, match="commute"):
        Symmetry(pair, vector(perm=[[1, 0, 2], [0, 2, 1]]), invariant()).bind((3,), (1,))
    a = 2 * math.pi / 3 + 1e-8
    almost = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    with pytest.raises(NotAnAction, match="rounded to a few digits"):
        Symmetry(cyclic(3), vector(matrix=almost), invariant()).bind((2,), (1,))
    with pytest.raises(NotAnAction):
        Symmetry(cyclic(2), vector(matrix=[[2.0, 0.0], [0.0, 1.0]]), invariant()).bind((2,), (1,))


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_random_permutations_pass_only_if_they_are_an_action(seed):
    rng = np.random.default_rng(seed)
    r, s = Monomial(rng.permutation(4)), Monomial(rng.permutation(4))
    true = (r @ r @ r).is_identity and (s @ s).is_identity and (s @ r @ s @ r).is_identity
    symmetry = Symmetry(dihedral(3), vector(matrix=[r, s]), invariant())
    if true:
        symmetry.bind((4,), (1,))
    else:
        with pytest.raises(NotAnAction):
            symmetry.bind((4,), (1,))


def test_large_tensors_are_checked_by_orders(monkeypatch):
    monkeypatch.setattr(law, "MAX_ENTRIES", 1)
    Symmetry(dihedral(4), image(), same()).bind((3, 4, 4), (4, 4))
    Symmetry(direct_product(symmetric(3), symmetric(3)), onehot("x", "y"), onehot("z")).bind((12,), (6,))
    with pytest.raises(NotAnAction, match="order"):
        Symmetry(cyclic(2), vector(perm=[1, 2, 0]), invariant()).bind((3,), (1,))
    with pytest.raises(NotAnAction, match="order"):
        Symmetry(dihedral(4), image(flip=("quarter-turn", "half-turn")), invariant()).bind((4, 4), (1,))


def test_shapes_that_do_not_fit_name_the_tensor():
    with pytest.raises(ShapeMismatch, match="output 'value'"):
        Symmetry(cyclic(2), image(), {"policy": image(), "value": vector(sign=[-1, 1])}).bind(
            (4, 4), {"policy": (4, 4), "value": (1,)}
        )
    with pytest.raises(ShapeMismatch, match="input 1"):
        Symmetry(cyclic(2), (image(), vector(sign=[-1, 1])), invariant()).bind([(4, 4), (3,)], (1,))
    with pytest.raises(ShapeMismatch, match="2 actions were given for 1 input"):
        Symmetry(cyclic(2), (image(), image()), invariant()).bind((4, 4), (1,))
    with pytest.raises(ShapeMismatch, match="one action was given for 2 outputs"):
        Symmetry(cyclic(2), image(), image()).bind((4, 4), [(4, 4), (3,)])
    with pytest.raises(ShapeMismatch, match="missing: value"):
        Symmetry(cyclic(2), image(), {"policy": image()}).bind((4, 4), {"policy": (4, 4), "value": (1,)})


def test_tensors_that_do_not_fit_are_refused():
    bound = go_symmetry()
    with pytest.raises(ShapeMismatch, match="2 input tensors, got 1"):
        bound.act_on_input(1, torch.zeros(2, 22, 9, 9))
    with pytest.raises(ShapeMismatch, match=r"\(22, 9, 9\)"):
        bound.act_on_input(1, (torch.zeros(2, 22, 8, 8), torch.zeros(2, 19)))
    with pytest.raises(ShapeMismatch, match="expected the outputs"):
        bound.act_on_output(1, {"policy": torch.zeros(2, 9, 9)})
    with pytest.raises(WrongUse, match=r"0\.\.7, not 8"):
        bound.input_action(8)


def test_wrong_arguments():
    with pytest.raises(WrongUse, match="group"):
        Symmetry("D4", image(), invariant())
    with pytest.raises(WrongUse, match="action"):
        Symmetry(cyclic(2), 3, invariant())
    assert Symmetry(cyclic(2), "image:flip=up-down", "invariant").on_input == image(flip="up-down")


def test_invariant_serves_any_number_of_tensors():
    bound = Symmetry(cyclic(2), image(), invariant()).bind((2, 2), [(3,), (4, 4)])
    assert [a.shape for a in bound.output_action(1)] == [(3,), (4, 4)] and all(
        a.is_identity for a in bound.output_action(1)
    )


def test_elements_without_shapes():
    on_input, on_output = Symmetry(dihedral(4), image(), same()).element("r")
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(on_input(x), torch.rot90(x, 1, (-2, -1)))
    assert torch.equal(on_output(x[:, 0]), torch.rot90(x[:, 0], 1, (-2, -1)))


def test_symmetries_print_and_compare_by_value():
    a = Symmetry(dihedral(4), image(), {"policy": same(), "value": invariant()})
    assert a == Symmetry(dihedral(4), image(), {"policy": same(), "value": invariant()})
    assert a != Symmetry(dihedral(4), image(flip="up-down"), {"policy": same(), "value": invariant()})
    assert a.to_json()["output"] == "policy=same|value=invariant"
    assert Symmetry.from_json(json.loads(json.dumps(a.to_json()))) == a


def test_moved_inputs_can_be_viewed():
    x = torch.randn(2, 3, 4, 4)
    bound = Symmetry(dihedral(4), image(), invariant()).bind((3, 4, 4), (1,))
    assert bound.act_on_input("r", x).view(2, -1).shape == (2, 48)
    spread = x.to(memory_format=torch.channels_last)
    assert torch.equal(bound.act_on_input("s", spread), x.flip(-1))


def test_trivial_group():
    bound = Symmetry(cyclic(1), image(), invariant()).bind((3, 4), (2,))
    assert bound.input_action(0)[0].is_identity


def test_real_group_networks_learned_a_composition(shared):
    spec = importlib.util.spec_from_file_location("shared_networks", shared / "models" / "networks.py")
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    net = networks.GroupMLP("group_mlp/S5_MLP_seed37.npz")
    table, places = identity_first(net.table().numpy())
    group = from_table(table)
    symmetry = Symmetry(direct_product(group, group), onehot("x", "y", elements=places), onehot("z", elements=places))
    bound = symmetry.bind((240,), (120,))
    pairs, logits = net.all_pairs(), torch.nn.functional.one_hot(net.table().flatten(), 120).float()
    for g in (*symmetry.group.generators, 7_777):
        with torch.no_grad():
            moved = net(bound.act_on_input(g, pairs)).argmax(1)
        assert torch.equal(moved, bound.act_on_output(g, logits).argmax(1))
