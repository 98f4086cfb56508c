"""Laws read in place are the laws of ``Family.values``, on the CPU and by the way that other devices take."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.training.families import KINDS, Family, Piece
from intertwiner.training.readings import Reading
from intertwiner.training.views import View


@st.composite
def families(draw: st.DrawFn) -> tuple[Family, dict[str, torch.Tensor]]:
    """Any kind, one or two blocks, rows and columns of weights, kernels, shuffled rows, biases with a centre."""
    kind = draw(st.sampled_from(KINDS))
    blocks, size, k = (draw(st.integers(1, 3)) for _ in range(3))
    rows = blocks * size
    order = tuple(k * i for i in draw(st.permutations(range(rows))))
    degree = 1 if kind == "shift" else 2
    centre = tuple(float(i) for i in range(rows)) if draw(st.booleans()) and kind == "balance" else ()
    pieces = (
        Piece("rows", View(rows, 0, k, (k,), (1,)), Fraction(2), degree),
        Piece("columns", View(rows, 0, 1, (k,), (rows,)), Fraction(-1), degree),
        Piece("kernel", View(rows, 1, 4, (k, 3), (4 * rows, 1)), Fraction(-1, 3), degree),
        Piece("shuffled", View(rows, 0, 0, (k,), (1,), order), Fraction(1), degree),
        Piece("bias", View(rows, 0, 1), Fraction(1), degree, centre),
    )
    random = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    shapes = {
        "rows": (rows, k),
        "columns": (k, rows),
        "kernel": (k, rows, 2, 2),
        "shuffled": (rows, k),
        "bias": (rows,),
    }
    shapes |= {"bias": (rows,)}
    state = {n: torch.randn(s, generator=random, dtype=torch.float64) for n, s in shapes.items()}
    return Family(kind, pieces, "", "", "", size, blocks), state


@pytest.mark.parametrize("device", ["cpu", "other"])
@given(case=families())
def test_readings_are_values_and_forms(case: tuple[Family, dict[str, torch.Tensor]], device: str) -> None:
    family, state = case
    reading = Reading(family)
    if device == "other":
        reading._here = lambda piece, rows, exact: reading._there(piece, torch.from_numpy(rows), exact)
    np.testing.assert_allclose(reading.values(state), family.values(state), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(reading.form(state), family.form(state), rtol=1e-12, atol=1e-12)


def test_values_are_summed_in_float64_whatever_the_tensors_are() -> None:
    family = Family("balance", (Piece("w", View(1, 0, 0, (4096,), (1,)), Fraction(1)),), "", "", "", 1)
    weight = torch.full((4096,), 0.1)
    exact = 4096 * float(weight[0]) ** 2
    reading = Reading(family)
    here = reading._here(family.pieces[0], weight[None].numpy(), exact=True)
    there = reading._there(family.pieces[0], weight[None], exact=True)
    for (value,) in (here, there):
        assert value == pytest.approx(exact, rel=1e-14)
    half = weight.bfloat16()
    assert reading.values({"w": half})[0] == pytest.approx(4096 * float(half[0]) ** 2, rel=1e-14)


def test_tensors_that_are_not_contiguous_are_read_by_their_indices() -> None:
    family = Family("balance", (Piece("w", View(2, 0, 3, (3,), (1,)), Fraction(1)),), "", "", "", 2)
    weight = torch.arange(6.0).reshape(3, 2).T
    np.testing.assert_array_equal(Reading(family).values({"w": weight}), weight.square().sum(1).numpy())


def test_nan_comes_through() -> None:
    family = Family("balance", (Piece("w", View(2, 0, 1), Fraction(1)),), "", "", "", 2)
    np.testing.assert_array_equal(Reading(family).values({"w": torch.tensor([1.0, torch.nan])}), [1.0, np.nan])
