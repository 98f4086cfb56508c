"""Tensor actions against the plain matrix on the flattened sample."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intertwiner.errors import DataMismatch, NotAnAction, ShapeMismatch
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import AxisFactor, TensorAction


def random_matrix(rng, n, kind):
    if kind == "dense":
        return rng.normal(size=(n, n)) + 2 * np.eye(n)
    factor = {"perm": np.ones(n), "sign": rng.choice([-1.0, 1.0], n), "scale": rng.choice([-2.0, 0.5, 1.0, 3.0], n)}
    return Monomial(rng.permutation(n), factor[kind])


@st.composite
def actions(draw, shape=None, kinds=("perm", "sign", "scale", "dense")):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))) if shape is None else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    factors, axis = [], 0
    while axis < len(shape):
        width = draw(st.integers(1, min(2, len(shape) - axis)))
        if draw(st.booleans()):
            axes = tuple(range(axis, axis + width))
            n = math.prod(shape[a] for a in axes)
            factors.append(AxisFactor(axes, random_matrix(rng, n, draw(st.sampled_from(kinds)))))
        axis += width
    return TensorAction(shape, tuple(factors))


def dense(action):
    flat = action.flat()
    return flat.dense() if isinstance(flat, Monomial) else flat


def oracle(action, x):
    """The matrix on the flattened sample, built by asking nothing but numpy's kron."""
    matrix = np.eye(1)
    axis = 0
    while axis < len(action.shape):
        found = [f for f in action.factors if f.axes[0] == axis]
        block = np.eye(action.shape[axis])
        if found:
            m = found[0].matrix
            block = m.dense() if isinstance(m, Monomial) else m
        matrix = np.kron(matrix, block)
        axis += len(found[0].axes) if found else 1
    return (x.reshape(len(x), -1) @ matrix.T).reshape(x.shape)


@settings(deadline=None, max_examples=80)
@given(actions())
def test_apply_is_the_kronecker_product_of_the_factors(action):
    x = np.random.default_rng(0).normal(size=(3, *action.shape))
    np.testing.assert_allclose(action.apply_numpy(x), oracle(action, x), atol=1e-12)
    np.testing.assert_allclose((x.reshape(3, -1) @ dense(action).T).reshape(x.shape), oracle(action, x), atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_composition_is_h_first_and_inverse_undoes(data):
    a = data.draw(actions())
    b = data.draw(actions(shape=a.shape))
    x = torch.randn(2, *a.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close((a @ b).apply(x), a.apply(b.apply(x)), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(a.inverse().apply(a.apply(x)), x, atol=1e-7, rtol=1e-7)


@settings(deadline=None, max_examples=40)
@given(actions(kinds=("perm", "sign")))
def test_signed_permutations_have_an_exact_inverse(action):
    assert (action.inverse() @ action).is_identity
    assert (action @ action.inverse()) == TensorAction.identity(action.shape)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_reshape_permute_and_unsqueeze_commute_with_the_tensor_operation(data):
    action = data.draw(actions())
    x = torch.randn(2, *action.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = action.apply(x)
    order = data.draw(st.permutations(range(len(action.shape))))
    full = [0, *(1 + a for a in order)]
    torch.testing.assert_close(action.permute(order).apply(x.permute(full)), moved.permute(full))
    size, shape = action.size, []
    while size > 1 and len(shape) < 4:
        shape.append(data.draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0])))
        size //= shape[-1]
    target = (*shape, size) if data.draw(st.booleans()) else (*shape, -1)
    again = action.reshape(target)
    torch.testing.assert_close(again.apply(x.reshape(2, *again.shape)), moved.reshape(2, *again.shape))
    back = again.reshape(action.shape)
    assert back.is_close(action)
    at = data.draw(st.integers(0, len(action.shape)))
    torch.testing.assert_close(action.insert_axis(at).apply(x.unsqueeze(at + 1)), moved.unsqueeze(at + 1))


def test_reshape_finds_the_factors_again():
    action = TensorAction.of((4, 3, 5), {(0,): Monomial([1, 2, 3, 0]), (2,): Monomial([4, 3, 2, 1, 0])})
    assert [f.axes for f in action.reshape((60,)).factors] == [(0,)]
    assert action.reshape((60,)).reshape((4, 3, 5)) == action
    assert [f.axes for f in action.reshape((60,)).reshape((4, 15)).factors] == [(0,), (1,)]
    turn = TensorAction.of((2, 3, 3), {(1, 2): Monomial([6, 3, 0, 7, 4, 1, 8, 5, 2])})
    assert [f.axes for f in turn.reshape((2, 3, 3)).factors] == [(1, 2)]
    assert [f.axes for f in turn.permute((1, 0, 2)).factors] == [(0, 1, 2)]


def test_scalars_on_axes_of_size_one_are_kept():
    odd = TensorAction.of((1,), {(0,): Monomial([0], [-1.0])})
    assert odd.reshape(()).apply(torch.ones(3)).tolist() == [-1, -1, -1]
    assert odd.reshape(()).reshape((1, 1)).apply(torch.ones(2, 1, 1)).flatten().tolist() == [-1, -1]
    both = TensorAction.of((1, 2), {(0,): Monomial([0], [-1.0]), (1,): Monomial([0, 1], [-1.0, -1.0])})
    assert both.is_identity
    assert TensorAction.of((1, 2), {(0,): Monomial([0], [-1.0])}) == TensorAction.of(
        (1, 2), {(1,): Monomial([0, 1], [-1.0, -1.0])}
    )
    assert not TensorAction.of((1, 2), {(0,): Monomial([0], [-1.0])}).is_identity


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool]
)
def test_permutations_are_bit_exact_in_every_dtype(dtype):
    action = TensorAction.of((5, 4, 4), {(0,): Monomial([2, 0, 1, 4, 3]), (1, 2): turn_of(4)})
    x = (torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(3)) * 9).to(dtype)
    expected = torch.rot90(x, 1, (-2, -1))[:, [1, 2, 0, 4, 3]]
    moved = action.apply(x)
    assert moved.dtype == dtype and torch.equal(moved, expected)


def test_dense_factors_keep_the_dtype_and_refuse_integers():
    action = TensorAction.of((2,), {(0,): np.array([[0.6, -0.8], [0.8, 0.6]])})
    assert action.apply(torch.ones(4, 2, dtype=torch.float16)).dtype == torch.float16
    with pytest.raises(DataMismatch, match="int64"):
        action.apply(torch.ones(4, 2, dtype=torch.int64))
    with pytest.raises(DataMismatch, match="bool"):
        TensorAction.of((2,), {(0,): Monomial([0, 1], [1.0, -1.0])}).apply(torch.ones(4, 2, dtype=torch.bool))


def turn_of(n):
    return Monomial(np.rot90(np.arange(n * n).reshape(n, n), -1).ravel())


def test_leading_axes_may_be_any_number_and_gradients_flow():
    action = TensorAction.of((3,), {(0,): Monomial([1, 2, 0], [1.0, -1.0, 1.0])})
    x = torch.randn(2, 5, 3, requires_grad=True)
    action.apply(x).sum().backward()
    assert x.grad is not None and x.grad[0, 0].tolist() == [1, -1, 1]
    assert action.apply(torch.ones(3)).shape == (3,)


def test_wrong_shapes_are_refused():
    action = TensorAction.of((2, 3), {(1,): Monomial([2, 1, 0])})
    with pytest.raises(ShapeMismatch, match=r"\(2, 3\).*\(1, 3, 2\)"):
        action.apply(torch.zeros(1, 3, 2))
    with pytest.raises(ShapeMismatch, match="compose"):
        action @ TensorAction.identity((3, 2))
    with pytest.raises(ShapeMismatch, match="reshape"):
        action.reshape((4,))
    with pytest.raises(ShapeMismatch, match="share axes"):
        TensorAction((2, 3), (AxisFactor((1,), Monomial([2, 1, 0])), AxisFactor((0, 1), Monomial(np.arange(6)))))
    with pytest.raises(ShapeMismatch, match="consecutive"):
        AxisFactor((0, 2), Monomial([1, 0]))
    with pytest.raises(ShapeMismatch, match="hold 3 entries"):
        TensorAction.of((2, 3), {(1,): Monomial([1, 0])})
    with pytest.raises(ShapeMismatch, match="order"):
        action.permute((0, 0))
    with pytest.raises(NotAnAction, match="NaN"):
        AxisFactor((0,), np.array([[np.nan, 0], [0, 1]]))
    with pytest.raises(NotAnAction, match="singular"):
        TensorAction.of((2,), {(0,): np.ones((2, 2))}).inverse()


def test_axes_that_are_mixed_cannot_be_looked_at_alone():
    turn = TensorAction.of((2, 3, 3), {(0,): Monomial([1, 0]), (1, 2): turn_of(3)})
    assert turn.matrix_on((1, 2)) == turn_of(3)
    assert turn.matrix_on((-2, -1)) == turn_of(3)
    assert turn.fixes(()) and not turn.fixes((0,))
    assert turn.drop_axes((1, 2)) == TensorAction.of((2,), {(0,): Monomial([1, 0])})
    assert turn.drop_axes((0,)).shape == (3, 3)
    with pytest.raises(ShapeMismatch, match="mixes"):
        turn.matrix_on((2,))
    with pytest.raises(ShapeMismatch, match="mixes"):
        turn.drop_axes((1,))


def test_equality_needs_equal_entries():
    a = TensorAction.of((2,), {(0,): Monomial([1, 0], [1.0, 2.0])})
    b = TensorAction.of((2,), {(0,): Monomial([1, 0], [1.0, 2.0 + 1e-15])})
    assert a != b and a.is_close(b) and a == TensorAction.of((2,), {(0,): a.flat()})
    assert a != TensorAction.identity((2,)) and a != TensorAction.identity((3,)) and hash(a) == hash(b)


def test_long_factors_print_short():
    action = TensorAction.of((40,), {(0,): Monomial(np.arange(40)[::-1])})
    assert repr(action) == "TensorAction((40,), axis 0: Monomial(40: permutation moving 40))"
