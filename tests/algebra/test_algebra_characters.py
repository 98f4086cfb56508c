"""Characters and irreps against known tables, closed forms and the Murnaghan-Nakayama rule."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from intertwiner.algebra import (
    Group,
    complex_characters,
    cyclic,
    dihedral,
    direct_product,
    frobenius_schur,
    from_table,
    irrep,
    irreps,
    parse_group,
    quaternion,
    symmetric,
)
from intertwiner.algebra.characters import characters_by_class_algebra
from intertwiner.algebra.partitions import cycle_type, partitions, symmetric_character, transpose
from intertwiner.errors import GroupError

W = np.exp(2j * np.pi / 3)
PHI, PSI = (1 + np.sqrt(5)) / 2, (1 - np.sqrt(5)) / 2

# Columns are named by one element of each class; rows in any order.
TABLES: dict[str, tuple[list[str], list[list[complex]]]] = {
    "S3": (["e", "(0 1)", "(0 1 2)"], [[1, 1, 1], [1, -1, 1], [2, 0, -1]]),
    "S4": (
        ["e", "(0 1)", "(0 1)(2 3)", "(0 1 2)", "(0 1 2 3)"],
        [[1, 1, 1, 1, 1], [1, -1, 1, 1, -1], [2, 0, 2, -1, 0], [3, 1, -1, 0, -1], [3, -1, -1, 0, 1]],
    ),
    "S5": (
        ["e", "(0 1)", "(0 1)(2 3)", "(0 1 2)", "(0 1 2)(3 4)", "(0 1 2 3)", "(0 1 2 3 4)"],
        [
            [1, 1, 1, 1, 1, 1, 1],
            [1, -1, 1, 1, -1, -1, 1],
            [4, 2, 0, 1, -1, 0, -1],
            [4, -2, 0, 1, 1, 0, -1],
            [5, 1, 1, -1, 1, -1, 0],
            [5, -1, 1, -1, -1, 1, 0],
            [6, 0, -2, 0, 0, 0, 1],
        ],
    ),
    "S6": (
        [
            "e",
            "(0 1)",
            "(0 1)(2 3)",
            "(0 1)(2 3)(4 5)",
            "(0 1 2)",
            "(0 1 2)(3 4)",
            "(0 1 2)(3 4 5)",
            "(0 1 2 3)",
            "(0 1 2 3)(4 5)",
            "(0 1 2 3 4)",
            "(0 1 2 3 4 5)",
        ],
        [
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            [1, -1, 1, -1, 1, -1, 1, -1, 1, 1, -1],
            [5, 3, 1, -1, 2, 0, -1, 1, -1, 0, -1],
            [5, -3, 1, 1, 2, 0, -1, -1, -1, 0, 1],
            [9, 3, 1, 3, 0, 0, 0, -1, 1, -1, 0],
            [9, -3, 1, -3, 0, 0, 0, 1, 1, -1, 0],
            [10, 2, -2, -2, 1, -1, 1, 0, 0, 0, 1],
            [10, -2, -2, 2, 1, 1, 1, 0, 0, 0, -1],
            [5, 1, 1, -3, -1, 1, 2, -1, -1, 0, 0],
            [5, -1, 1, 3, -1, -1, 2, 1, -1, 0, 0],
            [16, 0, 0, 0, -2, 0, -2, 0, 0, 1, 0],
        ],
    ),
    "A4": (
        ["e", "(0 1)(2 3)", "(0 1 2)", "(0 2 1)"],
        [[1, 1, 1, 1], [1, 1, W, W**2], [1, 1, W**2, W], [3, -1, 0, 0]],
    ),
    "A5": (
        ["e", "(0 1)(2 3)", "(0 1 2)", "(0 1 2 3 4)", "(0 2 4 1 3)"],
        [[1, 1, 1, 1, 1], [3, -1, 0, PHI, PSI], [3, -1, 0, PSI, PHI], [4, 0, 1, -1, -1], [5, 1, -1, 0, 0]],
    ),
    "D4": (
        ["e", "r2", "r", "s", "rs"],
        [[1, 1, 1, 1, 1], [1, 1, 1, -1, -1], [1, 1, -1, 1, -1], [1, 1, -1, -1, 1], [2, -2, 0, 0, 0]],
    ),
    "D5": (
        ["e", "r", "r2", "s"],
        [[1, 1, 1, 1], [1, 1, 1, -1], [2, -PSI, -PHI, 0], [2, -PHI, -PSI, 0]],
    ),
    "D6": (
        ["e", "r", "r2", "r3", "s", "rs"],
        [
            [1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, -1, -1],
            [1, -1, 1, -1, 1, -1],
            [1, -1, 1, -1, -1, 1],
            [2, 1, -1, -2, 0, 0],
            [2, -1, -1, 2, 0, 0],
        ],
    ),
    "Q8": (
        ["e", "-e", "i", "j", "k"],
        [[1, 1, 1, 1, 1], [1, 1, 1, -1, -1], [1, 1, -1, 1, -1], [1, 1, -1, -1, 1], [2, -2, 0, 0, 0]],
    ),
    "C2xC2": (
        ["(e, e)", "(e, r)", "(r, e)", "(r, r)"],
        [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]],
    ),
    "S3xC2": (
        ["(e, e)", "((0 1), e)", "((0 1 2), e)", "(e, r)", "((0 1), r)", "((0 1 2), r)"],
        [
            [1, 1, 1, 1, 1, 1],
            [1, -1, 1, 1, -1, 1],
            [2, 0, -1, 2, 0, -1],
            [1, 1, 1, -1, -1, -1],
            [1, -1, 1, -1, 1, -1],
            [2, 0, -1, -2, 0, 1],
        ],
    ),
    "F20": (
        ["e", "(0 1 2 3 4)", "(1 4)(2 3)", "(1 2 4 3)", "(1 3 4 2)"],
        [[1, 1, 1, 1, 1], [1, 1, 1, -1, -1], [1, 1, -1, 1j, -1j], [1, 1, -1, -1j, 1j], [4, -1, 0, 0, 0]],
    ),
    "C4": (["e", "r", "r2", "r3"], [[1, 1, 1, 1], [1, 1j, -1, -1j], [1, -1, 1, -1], [1, -1j, -1, 1j]]),
}


def rows(table: np.ndarray) -> list[tuple[float, ...]]:
    """Rows as a sorted list, so that the order of irreps does not matter."""
    digits = np.round(np.stack([np.real(table), np.imag(table)], axis=-1), 10) + 0.0
    return sorted(tuple(r) for r in digits.reshape(len(table), -1).tolist())


@pytest.mark.parametrize("name", TABLES)
def test_known_character_tables(name: str) -> None:
    elements, expected = TABLES[name]
    group = parse_group(name)
    columns = group.class_of[[group.element(e) for e in elements]]
    assert sorted(columns) == list(range(group.class_count))
    found = complex_characters(group)[:, columns]
    assert rows(found) == rows(np.array(expected))
    if not group.parts:
        assert rows(characters_by_class_algebra(group)[:, columns]) == rows(np.array(expected))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 30, 61, 113])
def test_cyclic_closed_form(n: int) -> None:
    expected = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
    assert rows(complex_characters(cyclic(n))) == rows(expected)
    if n <= 61:
        assert rows(characters_by_class_algebra(cyclic(n))) == rows(expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 12, 59, 61])
def test_dihedral_closed_form_against_the_class_algebra(n: int) -> None:
    group = dihedral(n)
    table = complex_characters(group)
    assert rows(table) == rows(characters_by_class_algebra(group))
    assert np.sum(table[:, 0].real == 2) == (n - 1) // 2


def test_d61_values() -> None:
    values = np.sort([i.character[1] for i in irreps(dihedral(61)) if i.dimension == 2])
    np.testing.assert_allclose(values, np.sort(2 * np.cos(2 * np.pi * np.arange(1, 31) / 61)), atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_symmetric_groups_by_murnaghan_nakayama(n: int) -> None:
    group = symmetric(n)
    assert group.permutations is not None
    types = [cycle_type(group.permutations[g].tolist()) for g in group.class_representatives]
    for i in irreps(group):
        assert i.partition is not None
        assert i.class_character.tolist() == [symmetric_character(i.partition, t) for t in types]  # exact integers
    assert {i.partition for i in irreps(group)} == set(partitions(n))


def test_murnaghan_nakayama_itself() -> None:
    """Dimensions by the hook formula, orthogonality of S7 and S8, transpose is the product with the sign."""
    hooks = {(4, 3): 14, (3, 3, 1): 21, (4, 2, 1): 35, (5, 1, 1): 15, (7,): 1}
    assert {p: symmetric_character(p, (1,) * 7) for p in hooks} == hooks
    for n in (7, 8):
        assert sum(symmetric_character(p, (1,) * n) ** 2 for p in partitions(n)) == np.prod(np.arange(1, n + 1))
    for p in partitions(6):
        for t in partitions(6):
            sign = (-1) ** (6 - len(t))
            assert symmetric_character(transpose(p), t) == sign * symmetric_character(p, t)


EVERY = ["C1", "C2", "C3", "C6", "D1", "D4", "D6", "D61", "S4", "S5", "A4", "A5", "A6", "Q8", "Dic3", "F20", "F21"]
PRODUCTS = ["C2xC2", "S3xC2", "C3xC3", "C4xQ8", "Q8xQ8", "C3xC3xC3", "S5xS5", "D4xA4"]


@pytest.mark.parametrize("name", EVERY + PRODUCTS)
def test_real_irreps_are_complete_and_orthogonal(name: str) -> None:
    group = parse_group(name)
    every = irreps(group)
    assert every[0].is_trivial
    assert len({i.name for i in every}) == len(every)
    # sum of d^2 / e is the dimension of the group algebra
    assert sum(i.dimension**2 // i.commutant_dimension for i in every) == group.order
    table = np.array([i.class_character for i in every])
    gram = (table * group.class_sizes) @ table.T / group.order
    np.testing.assert_allclose(gram, np.diag([i.commutant_dimension for i in every]), atol=1e-10)
    # as many real irreps as classes of pairs {g, g^-1}
    inverse = group.class_of[group.inverses[group.class_representatives]]
    assert len(every) == np.sum(inverse >= np.arange(group.class_count))


@pytest.mark.parametrize("name", [n for n in EVERY + PRODUCTS if n != "D61"])
def test_explicit_matrices(name: str) -> None:
    """Each is an action (checked on construction), orthogonal, and has its character on every class."""
    group = parse_group(name)
    for i in irreps(group):
        rho = i.representation
        assert rho.dimension == i.dimension
        np.testing.assert_allclose(rho.class_character, i.class_character, atol=1e-10)
        for m in rho.dense_images():
            np.testing.assert_allclose(m.T @ m, np.eye(i.dimension), atol=1e-12)


def test_types() -> None:
    def types(name: str) -> list[str]:
        return [i.type for i in irreps(parse_group(name))]

    assert types("C3") == ["real", "complex"]
    assert types("Q8") == ["real"] * 4 + ["quaternionic"]
    assert set(types("S5")) == {"real"}
    assert types("F21").count("complex") == 2
    assert irrep(parse_group("Q8xQ8"), "4a x 4a").type == "real"
    assert irrep(parse_group("Q8xQ8"), "4a x 4a").dimension == 4
    assert irrep(parse_group("C3xQ8"), "E x 4a").type == "complex"
    assert irrep(parse_group("C3xC3"), "E x E.2").type == "complex"
    assert frobenius_schur(parse_group("A5")).tolist() == [1] * 5


def test_names() -> None:
    def names(name: str) -> list[str]:
        return [i.name for i in irreps(parse_group(name))]

    assert names("C2") == ["A", "B"]
    assert names("C6") == ["A", "B", "E1", "E2"]
    assert names("D4") == ["A1", "A2", "B1", "B2", "E"]
    assert names("D5") == ["A1", "A2", "E1", "E2"]
    assert names("S3") == ["trivial", "sign", "standard"]
    assert names("S5") == ["trivial", "sign", "standard", "standard x sign", "(3,2)", "(2,2,1)", "(3,1,1)"]
    assert names("A5") == ["trivial", "standard", "(3,1,1)+", "(3,1,1)-", "(3,2)"]
    assert names("C2xC2") == ["A x A", "A x B", "B x A", "B x B"]
    assert "trivial x (standard x sign)" in names("S5xS5")
    assert names("F20") == ["trivial", "1a", "2a", "4a"]
    group = dihedral(4)
    assert irrep(group, "A2").character[group.element("r")] == 1
    assert irrep(group, "A2").character[group.element("s")] == -1
    assert irrep(group, "B1").character[group.element("s")] == 1
    assert irrep(group, "B1").character[group.element("r")] == -1
    assert irrep(symmetric(5), "standard").partition == (4, 1)
    fixed = (symmetric(5).permutations == np.arange(5)).sum(axis=1)
    assert np.array_equal(irrep(symmetric(5), "standard").character, fixed - 1)
    with pytest.raises(GroupError, match="D4 has no irrep 'T2'; it has A1, A2"):
        irrep(group, "T2")


def test_a_table_without_a_family_gets_the_same_characters() -> None:
    group = symmetric(4)
    relabel = np.concatenate([[0], np.random.default_rng(3).permutation(np.arange(1, 24))])
    table = np.empty((24, 24), dtype=int)
    table[np.ix_(relabel, relabel)] = relabel[group.table]
    other = from_table(table)
    ours = sorted(sorted(np.bincount((i.character + 10).astype(int)).tolist()) for i in irreps(other))
    theirs = sorted(sorted(np.bincount((i.character + 10).astype(int)).tolist()) for i in irreps(group))
    assert ours == theirs


@pytest.mark.parametrize(("name", "seconds"), [("S6", 5.0), ("S5", 0.5), ("D4", 0.1)])
def test_time_of_irreps_with_their_matrices(name: str, seconds: float) -> None:
    # Another name makes another value, so that nothing comes out of a cache.
    known = parse_group(name)
    fresh = Group("fresh " + name, known.generators, known.cayley, natural_permutations=known.natural_permutations)
    start = time.perf_counter()
    for i in irreps(fresh):
        assert i.representation.dimension == i.dimension
    assert time.perf_counter() - start < seconds
    start = time.perf_counter()
    irreps(fresh)
    assert time.perf_counter() - start < 0.01


def test_the_same_on_every_run_whatever_the_hash_seed() -> None:
    code = (
        "from intertwiner.algebra import *; import numpy as np\n"
        "for n in ('S4', 'F21', 'S3xC3'):\n"
        "    G = parse_group(n)\n"
        "    print([h.name for h in subgroup_classes(G)], [i.name for i in irreps(G)])\n"
        "    print([m.round(9).tolist() for i in irreps(G) for m in i.representation.dense_images()])\n"
    )
    outputs = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "standard" in outputs[0]


def test_products_of_complex_types_split() -> None:
    group = direct_product(cyclic(3), quaternion())
    rho = irrep(group, "E x 4a").representation
    assert rho.dimension == 4
    assert str(rho) == "C3xQ8: E x 4a"
