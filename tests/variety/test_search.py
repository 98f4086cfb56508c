"""Searches: complete against brute force, resumable after any cut, the same wherever the jobs run."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertwiner.errors import CorruptFile, WrongUse
from intertwiner.variety.activation import monomial
from intertwiner.variety.architecture import Architecture
from intertwiner.variety.journal import Journal
from intertwiner.variety.minimal import frontier, minimal_vectors
from intertwiner.variety.neurovariety import neurovariety
from intertwiner.variety.progress import counted
from intertwiner.variety.search import FillingSearch, Found, all_widths, examine, filling_architectures, search

Vector = tuple[int, ...]


def below(u: Vector, v: Vector) -> bool:
    return all(a <= b for a, b in zip(u, v, strict=True))


tops = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@given(tops, st.data())
def test_minimal_vectors_agree_with_brute_force(top: Vector, data: st.DataObject) -> None:
    box = list(itertools.product(*(range(1, t + 1) for t in top)))
    roots = data.draw(st.lists(st.sampled_from(box), max_size=4))
    holds = {v: any(below(u, v) for u in roots) for v in box}
    asked: list[Vector] = []

    def ask(vectors: Any) -> list[bool]:
        asked.extend(vectors)
        return [holds[v] for v in vectors]

    minimal, maximal = minimal_vectors(top, ask)
    true, false = [v for v in box if holds[v]], [v for v in box if not holds[v]]
    assert minimal == sorted(v for v in true if not any(u != v and below(u, v) for u in true))
    assert maximal == sorted(v for v in false if not any(u != v and below(v, u) for u in false))
    assert frontier(top, minimal) == maximal


def test_a_vector_below_two_of_the_frontier_is_found_once() -> None:
    roots = [(1, 2, 3), (2, 1, 1)]
    minimal, _ = minimal_vectors((4, 4, 4), lambda vs: [any(below(u, v) for u in roots) for v in vs])
    assert minimal == roots


# Verified by examining every width vector of the box.
@pytest.mark.parametrize(
    ("d_in", "d_out", "degree", "depth", "most"), [(2, 1, 2, 4, 4), (2, 1, 3, 3, 4), (2, 2, 2, 3, 4)]
)
def test_filling_widths_agree_with_brute_force(d_in: int, d_out: int, degree: int, depth: int, most: int) -> None:
    found = filling_architectures(d_in, d_out, degree, depth, most=most)
    box = list(itertools.product(range(1, most + 1), repeat=depth - 1))
    fills = [h for h in box if neurovariety((d_in, *h, d_out), monomial(degree)).is_filling]
    assert found.minimal == tuple(sorted(h for h in fills if not any(u != h and below(u, h) for u in fills)))
    assert all(not neurovariety((d_in, *h, d_out), monomial(degree)).is_filling for h in found.maximal)


def test_filling_binary_forms_of_degree_32() -> None:
    found = filling_architectures()
    assert found.ambient == 33 and found.most == (3, 5, 9, 17, 33)
    assert found.verdict.is_proved and found.minimal == ((3, 3, 4, 4, 2),)
    (net,) = found.architectures()
    assert neurovariety(net).is_filling
    for i, width in enumerate(net.hidden):
        narrower = (*net.hidden[:i], width - 1, *net.hidden[i + 1 :])
        assert not neurovariety((2, *narrower, 1), net.activation).is_filling
    assert "53 parameters" in str(found) and "none is missing" in str(found)


def test_too_narrow_a_box_has_no_filling_network() -> None:
    found = filling_architectures(depth=4, most=2)
    assert found.minimal == () and found.maximal == ((2, 2, 2),)
    assert "among hidden widths up to 2" in found.verdict.claim and found.verdict.is_proved


def test_what_bounds_leave_open_is_probable(monkeypatch: pytest.MonkeyPatch) -> None:
    found = filling_architectures(depth=3)
    assert found.verdict.is_proved
    module = import_module("intertwiner.variety.search")  # the function hides it in the package
    monkeypatch.setattr(module, "_cannot_be", lambda wanted, net: False)
    assert filling_architectures(depth=3).verdict.is_proved  # the records have the bounds as well
    monkeypatch.setattr(Found, "never_filling", property(lambda self: False))
    undecided = filling_architectures(depth=3)
    assert undecided.verdict.is_undecided and undecided.minimal == found.minimal
    assert undecided.examined > found.examined


def test_search_by_kind() -> None:
    vectors = list(all_widths(4, 1, depth=2, most=5))
    assert [f.widths[1] for f in search("filling", vectors, "t^2")] == [4, 5]
    assert [f.widths[1] for f in search("defective", vectors, "t^2")] == [2, 3]  # of quadratic forms
    assert [f.widths[1] for f in search("identifiable", vectors, "t^2")] == [1]
    cubes = [f.widths for f in search("defective", all_widths(5, 1, depth=2, most=8), "t^3")]
    assert cubes == [(5, 7, 1)]  # [Alexander, Hirschowitz 1995]: seven cubes in five variables


def test_a_bound_spares_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[int] = []
    search("filling", [(3, 2, 1), (3, 3, 1)], "t^2", progress=ticks.append)
    assert ticks == [1]  # two squares never fill the ternary forms
    ticks.clear()
    search("identifiable", [(3, 2, 1), (3, 1, 1)], "t^2", progress=ticks.append)
    assert ticks == [1]


class Counting(ThreadPoolExecutor):
    """Counts jobs and dies after some."""

    def __init__(self, lives: int = 10**9) -> None:
        super().__init__(2)
        self.jobs, self.lives = 0, lives

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.jobs >= self.lives:
            raise KeyboardInterrupt
        self.jobs += 1
        return super().submit(fn, *args, **kwargs)


def test_executors_find_the_same(tmp_path: Path) -> None:
    with Counting() as pool:
        there = filling_architectures(depth=5, executor=pool)
        assert pool.jobs == there.examined
    assert there == filling_architectures(depth=5)
    with Counting() as pool:
        vectors = list(all_widths(2, 1, depth=4, most=5))  # more jobs than are handed over ahead
        assert len(vectors) > 64
        assert search("identifiable", vectors, "t^3", executor=pool) == search("identifiable", vectors, "t^3")
        few = list(examine(vectors[:70], monomial(2), executor=pool))
    assert [f.widths for f in few] == vectors[:70]


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "filling.jsonl"
    whole = filling_architectures(depth=5, out=tmp_path / "whole.jsonl")
    with Counting(lives=5) as pool, pytest.raises(KeyboardInterrupt):
        filling_architectures(depth=5, out=path, executor=pool)
    done = len(path.read_text().splitlines()) - 1
    assert 0 < done <= 5
    with Counting() as pool:
        assert filling_architectures(depth=5, out=path, executor=pool) == whole
        assert pool.jobs == whole.examined - done
    assert sorted(path.read_text().splitlines()) == sorted((tmp_path / "whole.jsonl").read_text().splitlines())
    ticks: list[int] = []
    assert filling_architectures(depth=5, out=path, progress=ticks.append) == whole
    assert ticks == []


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_was_cut_off_is_dropped(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    vectors = list(all_widths(2, 1, depth=3, most=3))
    whole = search("defective", vectors, "t^2", out=path)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    ticks: list[int] = []
    assert search("defective", vectors, "t^2", out=path, progress=ticks.append) == whole
    assert len(ticks) == 1 and path.read_bytes() == data
    path.write_bytes(data[: data.index(b"\n") // 2])  # not even the heading is whole
    assert search("defective", vectors, "t^2", out=path) == whole
    assert path.read_bytes() == data


def test_journals_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    search("filling", [(2, 2, 1)], "t^2", out=path)
    before = path.read_bytes()
    with pytest.raises(WrongUse, match="another search"):
        search("filling", [(2, 2, 1)], "t^3", out=path)
    assert path.read_bytes() == before
    path.write_bytes(before + b"not json\n" + before)
    with pytest.raises(CorruptFile, match="line 3 is no JSON"):
        search("filling", [(2, 2, 1)], "t^2", out=path)
    path.write_bytes(before + b"[1]\n")
    with pytest.raises(CorruptFile, match="no JSON object"):
        Journal(path, json.loads(before.splitlines()[0]))


def test_wrong_use_is_refused() -> None:
    with pytest.raises(WrongUse, match="filling, defective, identifiable"):
        search("best", [], "t^2")
    wrong: list[dict[str, Any]] = [{"depth": 1}, {"degree": 0}, {"most": 0}, {"d_in": True}]
    for arguments in wrong:
        with pytest.raises(WrongUse, match="whole number"):
            filling_architectures(**arguments)
    with pytest.raises(WrongUse, match=r"most=8.*Nothing was computed"):
        filling_architectures(4, 1, 2, 7)


def test_records_read_back() -> None:
    found = filling_architectures(depth=4, degree=3)
    assert FillingSearch.from_json(json.loads(json.dumps(found.to_json()))) == found
    (one,) = examine([(3, 2, 1)], monomial(2))
    assert Found.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.to_json()["defective"] is True and one.is_proved
    assert Architecture((3, 2, 1), "t^2").ambient_dimension == one.ambient  # type: ignore[arg-type]


def test_a_long_search_shows_a_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(100))
    monkeypatch.setenv("FORCE_COLOR", "1")
    with counted("architectures", clock=lambda: float(next(times))) as tick:
        for n in range(5):
            tick(n)
    assert "architectures" in capsys.readouterr().err
    with counted("architectures") as tick:
        tick(1)
    assert capsys.readouterr().err == ""
