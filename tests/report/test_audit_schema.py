"""The record is checked key by key, and the page that describes it cannot part from the check."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample

from intertwiner.errors import InvalidRecord
from intertwiner.report import document, plain, to_html, to_json, to_text, validate

SAMPLES = [sample.realistic, sample.proved, sample.refuted, sample.minimal, sample.big, sample.hostile]


@pytest.mark.parametrize("build", SAMPLES)
def test_samples_are_valid_and_survive_json(build: Any) -> None:
    record = build()
    validate(record)
    again = json.loads(to_json(record))
    validate(again)
    assert again == plain(record)


def _changed(path: list[Any], value: Any) -> dict[str, Any]:
    record = sample.realistic()
    place: Any = record
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["schema"], "intertwiner.audit/2", "schema: expected 'intertwiner.audit/1', came str 'intertwiner.audit/2'"),
        (["taps"], ..., "taps: expected list, came nothing"),
        (["taps"], None, "taps: expected list, came null"),
        (["verdict", "kind"], "proved", "verdict.kind: expected 'PROVED' or 'REFUTED' or 'UNDECIDED'"),
        (["network", "parameters"], "many", "network.parameters: expected integer, came str 'many'"),
        (["network", "parameters"], True, "network.parameters: expected integer, came bool True"),
        (
            ["taps", 2, "data", "generators", "r", "gauge_r2"],
            "0.5",
            "taps[2].data.generators['r'].gauge_r2: expected number",
        ),
        (["taps", 1, "orbits", "decision"], "maybe", "taps[1].orbits.decision"),
        (
            ["taps", 0, "weights", "irreps", 0, "name"],
            ...,
            "taps[0].weights.irreps[0].name: expected text, came nothing",
        ),
        (["taps", 0, "filters", "orbits", 0, "members", 0, "values"], [[1, 2], [3]], "values: expected nested lists"),
        (["defect", "generators"], [], "defect.generators: expected table, came list"),
        (["taps", 0, "filters", "shape"], [3, float("inf")], "shape: expected finite numbers or null, came nan or inf"),
        (["notes"], [1], "notes[0]: expected text, came int 1"),
        (["seconds"], {"trace": float("nan")}, "seconds['trace']: expected a finite number"),
    ],
)
def test_every_mistake_is_named_with_its_place(path: list[Any], value: Any, where: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        validate(_changed(path, value))
    assert where in str(caught.value)
    assert "docs/audit-schema.md" in str(caught.value)


def test_no_record_at_all_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="record: expected record, came list"):
        validate([])  # type: ignore[arg-type]


def test_many_mistakes_are_counted_and_the_list_is_cut() -> None:
    record = sample.big(30)
    for tap in record["taps"]:
        tap["dimension"] = "wide"
    with pytest.raises(InvalidRecord, match="31 mistakes") as caught:
        validate(record)
    assert "and 21 more" in str(caught.value)


@pytest.mark.parametrize("render", [to_text, to_html, to_json])
def test_nothing_is_rendered_from_an_invalid_record(render: Any) -> None:
    with pytest.raises(InvalidRecord):
        render(_changed(["verdict", "kind"], "TRUE"))


@pytest.mark.parametrize("render", [to_text, to_html, to_json])
def test_rendering_leaves_the_record_alone_and_takes_numpy(render: Any) -> None:
    record = sample.realistic()
    before = copy.deepcopy(record)
    render(record)
    assert record == before
    record["network"]["parameters"] = np.int64(48_210)
    record["taps"][0]["filters"]["orbits"][0]["members"][0]["values"] = np.eye(7)
    record["defect"]["worst"] = np.float32(0.5)
    render(record)


def test_keys_that_nobody_knows_are_ignored_but_kept() -> None:
    record = sample.minimal() | {"tomorrow": {"x": [1]}}
    assert json.loads(to_json(record))["tomorrow"] == {"x": [1]}
    assert to_text(record, 80) == to_text(sample.minimal(), 80)


def test_a_number_that_is_not_finite_becomes_null_and_is_said() -> None:
    record = _changed(["taps", 2, "orbits", "gap"], float("inf"))
    again = json.loads(to_json(record))
    assert again["taps"][2]["orbits"]["gap"] is None
    assert "taps[2].orbits.gap: the measurement gave inf; stored as null." in again["notes"]
    assert "the measurement gave inf" in " ".join(to_text(record, 200).split())
    assert "the measurement gave inf" in to_html(record)


def test_the_page_in_docs_is_what_the_check_says(repository: Path) -> None:
    page = (repository / "docs" / "audit-schema.md").read_text(encoding="utf-8")
    assert page == document(), "write it again: docs/audit-schema.md holds intertwiner.report.document()"
