"""The certificate: what is proved rests on the stored weights, what is measured says on what."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conv_twin import PLANE, conv_net, conv_twin, images

from intertwiner.audit.subject import Subject, prepare
from intertwiner.network import trace
from intertwiner.numerics.tolerance import TWIN_DEFECT_FLOAT64, tolerance
from intertwiner.rewrite import Certificate
from intertwiner.rewrite.certificate import Story, certify
from intertwiner.rewrite.chain_graph import chain_graph
from intertwiner.rewrite.layers import TwinChain
from intertwiner.rewrite.lift import lift
from intertwiner.rewrite.measure import chain_answers, figures, graph_answers
from intertwiner.rewrite.samples import Samples, samples_of
from intertwiner.rewrite.subject import task_of
from intertwiner.rewrite.twin import TwinGraph
from intertwiner.testing import Cell, planted_network
from intertwiner.testing.rewrite_trial import rewrite_cells, rewrite_selfcheck, run_rewrite_trial


def twin(dtype: str = "float32") -> tuple[Samples, TwinChain]:
    planted = planted_network(Cell("D4", "relu", "mlp", 2, dtype), 1)
    task = task_of(planted.module, planted.symmetry, planted.example(300))
    lifted = lift(task.chain, task.rho_in, task.rho_out, tolerance=tolerance(dtype), width_limit=100)
    return samples_of(task), lifted.chain


def certified(samples: Samples, chain: TwinChain) -> Certificate:
    task, graph = samples.task, chain_graph(samples.task.network, chain)
    found = figures(chain_answers(samples, chain))
    story = Story("lift", (), f"{found.samples} samples, {samples.note}", samples.exact)
    return certify(task.subject, graph, graph.module(), found, story)


def convolutional() -> tuple[Subject, TwinGraph]:
    network = trace(conv_net(), images(2))
    subject = prepare(network, PLANE, images(40), example=None, kwargs=None, max_samples=None, seed=0, progress="x")
    return subject, conv_twin()


def certified_graph(subject: Subject, graph: TwinGraph) -> Certificate:
    module = graph.module()
    found = figures(graph_answers(subject, module))
    return certify(subject, graph, module, found, Story("selected", (), "images", True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_relation_holds_bit_for_bit(dtype: str) -> None:
    found = certified(*twin(dtype))
    assert found.verdict.is_proved and found.verdict.exact
    assert found.dtype == dtype
    assert found.defect_float64 <= TWIN_DEFECT_FLOAT64
    assert found.noise_floor is not None and found.defect_float32 <= 5 * found.noise_floor
    assert found.averaging_measured and found.average_exact
    assert found.multiply_adds["averaging"] == 8 * found.multiply_adds["original"]


def test_one_moved_weight_is_no_longer_proved() -> None:
    samples, chain = twin()
    weight = chain.layers[0].weight.copy()
    place = np.unravel_index(np.abs(weight).argmax(), weight.shape)
    weight[place] *= 1.01
    broken = replace(chain, layers=(replace(chain.layers[0], weight=weight), *chain.layers[1:]))
    found = certified(samples, broken)
    assert found.verdict.is_undecided
    assert found.defect_float64 > 1e-5
    assert certified(samples, chain).verdict.is_proved


def test_a_weight_moved_by_one_rounding_is_no_exact_relation() -> None:
    samples, chain = twin()
    weight = chain.layers[0].weight.astype(np.float32)
    place = np.unravel_index(np.abs(weight).argmax(), weight.shape)
    weight[place] = np.nextafter(weight[place], np.float32(np.inf))
    moved = replace(chain, layers=(replace(chain.layers[0], weight=weight.astype(float)), *chain.layers[1:]))
    found = certified(samples, moved)
    assert found.verdict.is_proved and not found.verdict.exact
    assert "within rounding" in found.verdict.reason


def test_a_convolutional_twin_is_proved_bit_for_bit_and_one_with_a_moved_weight_is_not() -> None:
    subject, graph = convolutional()
    found = certified_graph(subject, graph)
    assert found.verdict.is_proved and found.verdict.exact
    assert found.defect_float64 <= TWIN_DEFECT_FLOAT64 < 1e-3 < found.original_defect
    assert found.widths == (1, 8, 8, 3)
    weight = graph.params["3.weight"]
    array = weight.array.copy()
    array[0, 0, 0, 0] += 0.1
    at = next(name for name, node in graph.graph.items() if weight in node.op.params)
    op = replace(graph.graph[at].op, weight=replace(weight, array=array))  # type: ignore[call-arg]
    broken = replace(graph, graph={**graph.graph, at: replace(graph.graph[at], op=op)})
    assert graph.is_tied(torch.float32) and not broken.is_tied(torch.float32)
    worse = certified_graph(subject, broken)
    assert not worse.verdict.is_proved and worse.defect_float64 > 1e-4


def test_the_record_goes_both_ways_and_prints() -> None:
    found = certified(*twin())
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Certificate.from_json(record) == found
    text = str(found)
    for part in ("PROVED", "widths", "multiply-adds", "free", "all of D4", "moved by all 8 elements of D4"):
        assert part in text


def test_parameters_and_ties_are_counted() -> None:
    samples, chain = twin()
    found = certified(samples, chain)
    stored = sum(layer.weight.size + layer.width * layer.bias.any() for layer in chain.layers)
    assert found.parameters["twin"] == stored
    ties = chain_graph(samples.task.network, chain).ties.values()
    assert found.parameters["free"] == sum(t.count for t in ties)
    distinct = sum(len(np.unique(np.abs(layer.weight[layer.weight != 0]))) for layer in chain.layers)
    assert distinct <= found.parameters["free"] < found.parameters["twin"] / 3


def test_the_selfcheck_plants_rewrites_and_reports() -> None:
    report = rewrite_selfcheck(count=4, seed=1)
    assert report.ok, str(report)
    assert report.exact == report.controls == 4
    assert "exact twins, no wider      4 of 4" in str(report)
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


def test_a_selfcheck_notices_a_wrong_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    from intertwiner.rewrite import lift as room

    honest = room.tied_layer

    def crooked(weight, bias, pointwise, rho, read):
        return honest(weight * (1 + 1e-4), bias, pointwise, rho, read)

    monkeypatch.setattr(room, "tied_layer", crooked)
    trial = run_rewrite_trial(Cell("C4", "tanh", "mlp", 2, "float32"), 0)
    assert any("the function changed" in problem for problem in trial.problems)


@pytest.mark.slow
def test_two_hundred_planted_networks_come_back() -> None:
    report = rewrite_selfcheck(count=200)
    assert report.ok, str(report)
    assert len(list(rewrite_cells(200, 0))) == 200
