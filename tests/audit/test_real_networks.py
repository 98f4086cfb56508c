"""Audits of networks that nobody here trained; skipped where they do not lie beside the repository."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import intertwiner as iw


@pytest.fixture(scope="module")
def benchmark(repository: Path):
    """The benchmark as a module: its parts are what the tests judge on less data."""
    spec = importlib.util.spec_from_file_location("real_networks", repository / "benchmarks" / "real_networks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def at(benchmark, shared: Path):
    return benchmark.Folders(shared / "models", shared / "data", quick=True)


def missed(part) -> list[str]:
    return [claim.name for claim in part.claims if claim.holds is False]


def test_a_cart_pole_policy_carries_minus_one(benchmark, at):
    part = benchmark.cart_pole(at)
    assert not missed(part)
    assert "-1 on all 64 features" in part.text


def test_a_cart_pole_policy_under_a_wrong_action_carries_nothing(at):
    """Negative control: s -> -s with the actions left alone."""
    group = iw.cyclic(2)
    policy = at.networks().PolicyMLP("sb3/ppo_CartPole-v1.npz").eval()
    symmetry = iw.Symmetry(group, on_input=iw.vector(sign=[-1] * 4), on_output=iw.invariant())
    states = 0.3 * np.random.default_rng(0).standard_normal((1000, 4)).astype(np.float32)
    assert iw.audit(policy, symmetry, data=states).defect > 1.5


@pytest.mark.slow
def test_a_go_network_permutes_channels_inside_its_blocks_only(benchmark, at):
    part = benchmark.katago(at)
    assert not missed(part)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gomoku", "denoiser"])
def test_no_permutation_where_there_is_none(benchmark, at, name):
    assert not missed(getattr(benchmark, name)(at))


def test_absent_networks_are_named(benchmark, tmp_path):
    nowhere = benchmark.Folders(tmp_path, tmp_path, quick=True)
    assert all(benchmark.absent(name, nowhere) for name in benchmark.PARTS)


def test_the_refusal_is_seen_failing_where_an_action_was_planted(benchmark):
    planted = iw.bundled.load("planted-tanh-d4")
    batches = list(planted.batches())
    network = iw.trace(planted.module, batches[0])
    audit = iw.audit(network, planted.symmetry, batches, taps=benchmark.around_activations(network))
    found = [claim for claim in benchmark.no_action("planted", audit) if claim.holds is False]
    assert any("above its nulls" in claim.name for claim in found)
