"""Layers in isotypic blocks: the same function as the dense layer, all of Hom_G and nothing else, in every form."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from intertwiner.algebra import (
    GSet,
    Orbit,
    Representation,
    alternating,
    average_between,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    hom_by_orbits,
    quaternion,
    sign_kernels,
    subgroup_classes,
    symmetric,
    trivial_subgroup,
)
from intertwiner.errors import GroupError, NotAnAction, ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.rewrite.isotypic import IsotypicLinear, OneByOne
from intertwiner.rewrite.isotypic_orbits import grouped_form
from intertwiner.rewrite.isotypic_transform import IsotypicTransform

GROUPS = (
    cyclic(1),
    cyclic(2),
    cyclic(3),
    dihedral(3),
    dihedral(4),
    symmetric(4),
    alternating(4),
    quaternion(),
    dicyclic(3),
    direct_product(cyclic(3), symmetric(3)),
    direct_product(quaternion(), cyclic(3)),
)
SAME = {torch.float32: 1e-5, torch.float64: 1e-13}


def random_representation(group_index: int, seed: int, signed: bool) -> Representation:
    """Four orbits of random types, coordinates shuffled and, where signed, flipped."""
    group, rng = GROUPS[group_index], np.random.default_rng(seed)
    classes, orbits = subgroup_classes(group), []
    for _ in range(4):
        h = classes[rng.integers(len(classes))]
        kernels = (None, *(sign_kernels(h) if signed else ()))
        orbits.append(Orbit(h, kernels[rng.integers(len(kernels))], int(rng.integers(1, 4))))
    natural = GSet.of(group, orbits).representation()
    signs = rng.choice([-1.0, 1.0], natural.dimension) if signed else np.ones(natural.dimension)
    move = Monomial(rng.permutation(natural.dimension), signs)
    images = tuple(move @ m @ move.inverse() for m in natural.images)
    return Representation(group, images, dimension=natural.dimension)


def regular(group_index: int, copies: int) -> Representation:
    group = GROUPS[group_index]
    return grouped_form(GSet.of(group, [Orbit(trivial_subgroup(group), multiplicity=copies)]).representation())[0]


def act(rho: Representation, generator: int, x: torch.Tensor) -> torch.Tensor:
    m = rho.images[generator]
    dense = m.dense() if isinstance(m, Monomial) else m
    return x @ torch.tensor(dense).to(x).t()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-300))


representation_pairs = st.tuples(
    st.integers(0, len(GROUPS) - 1), st.integers(0, 99), st.integers(100, 199), st.booleans()
).map(lambda t: (random_representation(t[0], t[1], t[3]), random_representation(t[0], t[2], t[3])))


@settings(max_examples=40)
@given(representation_pairs)
def test_the_projection_is_the_group_average_and_the_parameters_are_all_of_hom(
    pair: tuple[Representation, Representation],
) -> None:
    rho_in, rho_out = pair
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((rho_out.dimension, rho_in.dimension)), rng.standard_normal(rho_out.dimension)
    found = IsotypicLinear.from_dense(w, rho_in, rho_out, bias=b)
    if rho_in.images:
        trivial = Representation.trivial(rho_in.group)
        average = average_between(rho_in, rho_out, w)
        b_average = average_between(trivial, rho_out, b[:, None])[:, 0]
        count = hom_by_orbits(rho_in, rho_out).dim
    else:
        average, b_average, count = w, b, w.size
    assert np.abs(found.layer.dense_weight().numpy() - average).max() < 1e-12
    assert sum(p.numel() for p in found.layer.blocks) == count
    bias = found.layer.dense_bias()
    assert np.abs((np.zeros_like(b) if bias is None else bias.numpy()) - b_average).max() < 1e-12
    assert found.weight_distance == pytest.approx(np.linalg.norm(w - average), abs=1e-10)
    assert found.bias_distance == pytest.approx(np.linalg.norm(b - b_average), abs=1e-10)


@settings(max_examples=25)
@given(representation_pairs, st.sampled_from([torch.float32, torch.float64]))
def test_any_parameters_give_an_equivariant_layer_equal_to_its_dense_and_frozen_form(
    pair: tuple[Representation, Representation], dtype: torch.dtype
) -> None:
    rho_in, rho_out = pair
    layer = IsotypicLinear(rho_in, rho_out, activation=nn.Tanh(), dtype=dtype, seed=3)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x = torch.randn(6, rho_in.dimension, dtype=dtype)
    y = layer(x)
    for g in range(len(rho_in.images)):
        assert (layer(act(rho_in, g, x)) - act(rho_out, g, y)).abs().max() < SAME[dtype]
    assert (layer.dense()(x) - y).abs().max() < SAME[dtype]
    assert (layer.frozen()(x) - y).abs().max() < SAME[dtype]


@settings(max_examples=25)
@given(representation_pairs)
def test_the_written_out_matrices_compute_the_same(pair: tuple[Representation, Representation]) -> None:
    layer = IsotypicLinear(*pair, activation=nn.Tanh(), dtype=torch.float64)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x = torch.randn(6, pair[0].dimension, dtype=torch.float64)
    expected = layer(x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IsotypicTransform, "_compiling", lambda self: True)
        assert relative(layer(x), expected) < 1e-13


def test_a_moved_weight_is_not_equivariant_and_the_distance_says_so() -> None:
    rho = regular(4, 3)
    layer = IsotypicLinear(rho, rho, bias=False, dtype=torch.float64)
    w = layer.dense_weight(tied=True)
    assert IsotypicLinear.from_dense(w, rho, rho).relative < 1e-14
    w[0, 1] += 0.5
    # One entry of an orbit of eight: all but its mean is off.
    assert IsotypicLinear.from_dense(w, rho, rho).weight_distance == pytest.approx(0.5 * (7 / 8) ** 0.5)


def test_tied_weights_hold_the_relation_bit_for_bit() -> None:
    rho_in, rho_out = random_representation(4, 1, True), random_representation(4, 2, True)
    layer = IsotypicLinear(rho_in, rho_out, seed=5)
    w = layer.dense_weight(tied=True).numpy()
    for a, b in zip(rho_in.images, rho_out.images, strict=True):
        assert isinstance(a, Monomial) and isinstance(b, Monomial)
        assert np.array_equal(b.apply(w), a.apply_right(w))
    assert np.abs(w - layer.dense_weight().numpy()).max() < 1e-6
    assert not np.array_equal(w[::-1], a.apply_right(w))


def test_numbers_of_multiply_adds_and_parameters_are_those_of_the_theory() -> None:
    # Regular representations: C2 2 and 2, C3 9/5 and 3, D4 16/3 and 8 (theory, section 7).
    for index, multiply_adds, parameters in ((1, 2, 2), (2, 9 / 5, 3), (4, 16 / 3, 8)):
        rho = regular(index, 24)
        layer = IsotypicLinear(rho, rho, bias=False)
        n, order = rho.dimension, rho.group.order
        assert sum(p.numel() for p in layer.parameters()) * parameters == n * n
        # Complex pairs are one real block of End_C: 2 x 2 real products each, so C3 gets its 9/5.
        assert layer.multiply_adds - 2 * n * order == pytest.approx(n * n / multiply_adds)


def test_training_stays_in_hom_and_reaches_a_planted_layer() -> None:
    rho_in, rho_out = random_representation(4, 11, False), random_representation(4, 12, False)
    target = IsotypicLinear(rho_in, rho_out, dtype=torch.float64, seed=1)
    layer = IsotypicLinear(rho_in, rho_out, dtype=torch.float64, seed=2)
    x = torch.randn(256, rho_in.dimension, dtype=torch.float64)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = (layer(x) - target(x)).square().mean()
        value.backward()
        return value

    first = loss().item()
    optimiser.step(loss)
    assert loss().item() < 1e-10 * first
    w = layer.dense_weight()
    assert float((w - target.dense_weight()).abs().max()) < 1e-4
    assert IsotypicLinear.from_dense(w, rho_in, rho_out).relative < 1e-12


def test_a_change_of_precision_loses_nothing() -> None:
    rho = regular(3, 4)
    layer = IsotypicLinear(rho, rho, activation=nn.ReLU())
    x = torch.randn(9, rho.dimension, dtype=torch.float64)
    double = copy.deepcopy(layer).double()
    made_so = IsotypicLinear(rho, rho, activation=nn.ReLU(), dtype=torch.float64)
    made_so.load_state_dict(layer.state_dict())
    assert torch.equal(double(x), made_so(x))
    # Coefficients of single precision would leave 1e-8 here.
    for g in range(len(rho.images)):
        assert relative(double(act(rho, g, x)), act(rho, g, double(x))) < 1e-13
    assert relative(layer(x.float()).double(), double(x)) < 1e-5
    assert set(layer.state_dict()) == {"bias", *(f"blocks.{k}" for k in range(len(layer.blocks)))}


def test_tokens_and_channels() -> None:
    rho = regular(4, 2)
    layer = IsotypicLinear(rho, rho, activation=nn.ReLU())
    tokens = torch.randn(3, 5, 16)
    assert torch.allclose(layer(tokens)[1, 2], layer(tokens[1, 2][None])[0], atol=1e-6)
    pixels, w = torch.randn(2, 16, 4, 5), layer.dense_weight()
    nn.init.normal_(layer.bias)
    expected = torch.relu(nn.functional.conv2d(pixels, w[:, :, None, None], layer.dense_bias()))
    assert torch.allclose(OneByOne(layer)(pixels), expected, atol=1e-5)


def test_representations_without_a_common_irrep_leave_the_bias() -> None:
    group = dihedral(4)
    signed = GSet.parse(group, "2 x D4/D4-C4").representation()
    trivial = Representation.trivial(group, 3)
    layer = IsotypicLinear(signed, trivial)
    nn.init.ones_(layer.bias)
    assert torch.equal(layer(torch.randn(5, 2)), torch.ones(5, 3))
    assert not list(layer.blocks)
    assert IsotypicLinear(trivial, signed).bias is None


def test_vectors_and_irreps_as_inputs() -> None:
    rho_in, rho_out = Representation.parse("D4: A1 + 2·E"), regular(4, 3)
    layer = IsotypicLinear(rho_in, rho_out, activation=nn.ReLU(), dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    for g in range(2):
        assert torch.allclose(layer(act(rho_in, g, x)), act(rho_out, g, layer(x)), atol=1e-13)


def test_bad_input_is_refused_by_name() -> None:
    rho, signed = regular(4, 2), random_representation(4, 2, True)
    with pytest.raises(GroupError, match="representations of C2 and D4"):
        IsotypicLinear(regular(1, 2), rho)
    with pytest.raises(ShapeMismatch, match=r"a weight of shape \(16, 15\).*expected \(16, 16\)"):
        IsotypicLinear.from_dense(torch.zeros(16, 15), rho, rho)
    with pytest.raises(ShapeMismatch, match=r"a bias of shape \(3,\), expected \(16,\)"):
        IsotypicLinear.from_dense(torch.zeros(16, 16), rho, rho, bias=torch.zeros(3))
    with pytest.raises(NotAnAction, match=r"ReLU does not commute with the signs .* Tanh"):
        IsotypicLinear(rho, signed, activation=nn.ReLU())
    with pytest.raises(NotAnAction, match="commutes with permutations only"):
        IsotypicLinear(rho, Representation.parse("D4: E"), activation=nn.Tanh())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_export_has_a_free_batch_and_computes_the_same(dtype: torch.dtype) -> None:
    layer = IsotypicLinear(*(random_representation(8, s, False) for s in (1, 2)), activation=nn.ReLU(), dtype=dtype)
    batch = torch.export.Dim("batch", min=2)
    x = torch.randn(4, layer.in_features, dtype=dtype)
    for module in (layer.eval(), layer.frozen().eval()):
        exported = torch.export.export(module, (x,), dynamic_shapes=({0: batch},)).module()
        y = torch.randn(7, layer.in_features, dtype=dtype)
        assert relative(exported(y), layer(y)) < SAME[dtype]


def test_onnxruntime_agrees(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    rho_in, rho_out = random_representation(4, 3, False), random_representation(4, 4, False)
    layer = IsotypicLinear(rho_in, rho_out, activation=nn.ReLU()).frozen().eval()
    x = torch.randn(4, layer.in_features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    program.save(tmp_path / "layer.onnx")
    session = runtime.InferenceSession(tmp_path / "layer.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert relative(torch.from_numpy(found), layer(x)) < 1e-5
