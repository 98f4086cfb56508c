"""Sample audit records: one realistic, one with hundreds of taps, one with nothing measured, one hostile."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

HOSTILE = "<script>alert(1)</script>"


def _moved(values: np.ndarray, k: int, flip: bool) -> np.ndarray:
    turned = np.rot90(values, k, axes=(-2, -1))
    return np.flip(turned, axis=-1) if flip else turned


def _filters(side: int, channels: int, rng: np.random.Generator) -> dict[str, Any]:
    """Orbits of D4 on filters: three free ones, two with a mirror in the stabiliser, two fixed ones, as pictures."""
    grid = np.linspace(-1, 1, side)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    envelope = np.exp(-1.5 * (x**2 + y**2))
    waves = [np.sin(3 * x + 1.3 * y + p) * envelope + 0.4 * (x - 0.3 * y) * y for p in (0.2, 1.4, 2.9)]
    mirrored = [np.cos(3 * x) * y * envelope, (y + 0.3) * envelope]
    fixed = [np.cos(4 * (x**2 + y**2)) * envelope, -envelope]
    tints = rng.normal(1, 0.5, (7, channels, 1, 1))
    neuron, orbits = 0, []
    plans = [("1", w, range(4), (False, True)) for w in waves]
    plans += [("Cs", w, range(4), (False,)) for w in mirrored]
    plans += [("D4", w, (0,), (False,)) for w in fixed]
    for (stabiliser, base, turns, flips), tint in zip(plans, tints):
        picture = base * tint if channels > 1 else base
        members = []
        for flip in flips:
            for k in turns:
                members.append({"neuron": neuron, "values": np.round(_moved(picture, k, flip), 4).tolist()})
                neuron += 1
        orbits.append({"stabiliser": stabiliser, "members": members})
    return {"shape": [channels, side, side] if channels > 1 else [side, side], "orbits": orbits}


def _row(linear: float, gauge: float, defect: float, null: float) -> dict[str, float]:
    return {
        "linear_r2": linear,
        "gauge_r2": gauge,
        "defect": defect,
        "noise_floor": 3.1e-7,
        "null_wrong_element": null,
        "null_random_network": null / 3 - 0.04,
    }


def _irreps(*rows: tuple[str, int, int, float | None]) -> list[dict[str, Any]]:
    return [{"name": n, "dimension": d, "type": "real", "multiplicity": m, "share": s} for n, d, m, s in rows]


def _exact(first: bool, side: int, channels: int) -> dict[str, Any]:
    return {
        "name": "stem.conv1:out" if first else "stem.conv2:out",
        "operator": "conv2d",
        "space": "stem.conv1" if first else "stem.conv2",
        "dimension": 34,
        "grid": [16, 16],
        "gauge": "permutations x positive scales",
        "weights": {
            "status": "exact" if first else "within tolerance",
            "residual": 0.0 if first else 2.7e-6,
            "reason": "every kernel, turned and flipped, is another kernel of the layer",
            "representation": "D4: 7·A1 + 3·A2 + 4·B1 + 4·B2 + 8·E",
            "orbits": "3 x D4/1 + 2 x D4/Cs + 2 x D4/D4",
            "cycles": {
                "r": "(0 1 2 3)(4 7 6 5)(8 9 10 11)(12 15 14 13)(16 17 18 19)(20 23 22 21)(24 25 26 27)(28 29 30 31)",
                "s": "(0 4)(1 5)(2 6)(3 7)(8 12)(9 13)(10 14)(11 15)(16 20)(17 21)(18 22)(19 23)(25 27)(29 31)",
            },
            "irreps": _irreps(
                ("A1", 1, 7, 0.412), ("A2", 1, 3, 0.031), ("B1", 1, 4, 0.118), ("B2", 1, 4, 0.077), ("E", 2, 8, 0.362)
            ),
            "undetermined": 0,
            "joined": 2,
        },
        "data": {
            "generators": {"r": _row(0.99991, 0.99987, 2.1e-6, 0.071), "s": _row(1.0, 0.99998, 1.4e-6, 0.104)},
            "samples": 4096,
        },
        "orbits": {
            "decision": "action",
            "reason": "every image of every neuron is present",
            "explained_neurons": 1.0,
            "explained_variance": 1.0,
            "present": 1.0,
            "present_null": 0.06,
            "gap": 0.83,
            "spread": 0.0002,
            "types": [
                {"stabiliser": "1", "order": 1, "neurons": 24, "orbits": 3, "complete": 3},
                {"stabiliser": "Cs", "order": 2, "neurons": 8, "orbits": 2, "complete": 2},
                {"stabiliser": "D4", "order": 8, "neurons": 2, "orbits": 2, "complete": 2},
            ],
            "lift_width": 34,
        },
        "filters": _filters(side, channels, np.random.default_rng(7)) if first else None,
        "breaks": [],
    }


def _trained() -> dict[str, Any]:
    """A trained layer: a linear map fits well, the gauge group less so, and the weights are not exact."""
    return {
        "name": "trunk.0.down:out",
        "operator": "conv2d",
        "space": "trunk.0.down",
        "dimension": 64,
        "grid": [8, 8],
        "gauge": "permutations x positive scales",
        "weights": {
            "status": "broken",
            "residual": 0.31,
            "reason": "the best permutation leaves 31 % of the kernel norm; stride 2 meets an even grid",
            "representation": None,
            "orbits": None,
            "cycles": None,
            "irreps": _irreps(("A1", 1, 14, 0.61), ("B1", 1, 6, 0.09), ("E", 2, 12, 0.3)),
            "undetermined": 6,
            "joined": 0,
        },
        "data": {
            "generators": {"r": _row(0.941, 0.583, 0.66, 0.127), "s": _row(0.958, 0.694, 0.57, 0.09)},
            "samples": 4096,
        },
        "orbits": {
            "decision": "partial",
            "reason": "56 % of the images are present",
            "explained_neurons": 0.21,
            "explained_variance": 0.34,
            "present": 0.56,
            "present_null": 0.11,
            "gap": 0.21,
            "spread": 0.04,
            "types": [
                {"stabiliser": "1", "order": 1, "neurons": 40, "orbits": 9, "complete": 2},
                {"stabiliser": "Cs", "order": 2, "neurons": 24, "orbits": 7, "complete": 3},
            ],
            "lift_width": 112,
        },
        "filters": None,
        "breaks": ["stride 2 on an even grid of 16: the flip moves the sampled points"],
    }


def _opaque(name: str = "trunk.1.attn:out") -> dict[str, Any]:
    return {
        "name": name,
        "operator": "scaled_dot_product_attention",
        "space": "trunk.1.attn",
        "dimension": 64,
        "grid": None,
        "gauge": "linear",
        "weights": {
            "status": "not covered",
            "residual": None,
            "reason": "no rule for aten.scaled_dot_product_attention",
            "representation": None,
            "orbits": None,
            "cycles": None,
            "irreps": [],
            "undetermined": 0,
            "joined": 0,
        },
        "data": {
            "generators": {"r": _row(0.893, 0.893, 0.327, 0.31), "s": _row(0.902, 0.902, 0.313, 0.35)},
            "samples": 4096,
        },
        "orbits": None,
        "filters": None,
        "breaks": [],
        "missing": {"orbits": "the gauge group mixes the neurons, so no neuron has an orbit of its own"},
    }


def _no_action() -> dict[str, Any]:
    tap = copy.deepcopy(_trained())
    tap |= {"name": "head.fc:out", "operator": "linear", "space": "head.fc", "dimension": 128, "grid": None}
    tap["gauge"] = "signed permutations"
    tap["weights"] = None
    tap["missing"] = {"weights": "not asked for"}
    tap["data"]["generators"] = {"r": _row(0.71, -0.213, 1.1, -0.18), "s": _row(0.74, 0.02, 0.99, 0.04)}
    tap["orbits"] |= {
        "decision": "none",
        "reason": "the self-correlations have no gap",
        "lift_width": None,
        "types": [],
    }
    tap["orbits"] |= {"explained_neurons": 0.0, "explained_variance": 0.0, "present": 0.03, "present_null": 0.04}
    tap["breaks"] = []
    return tap


def _identifiability() -> dict[str, Any]:
    return {
        "applies": True,
        "verdict": {
            "kind": "PROVED",
            "claim": "the even form of ShapeNet is determined by the function",
            "reason": "kinks of one piecewise linear layer: every hypothesis holds",
        },
        "neurons": [64, 61],
        "removed": [{"tap": "head.fc", "kind": "opposite to another neuron", "count": 3}],
        "gauge": [{"space": "head.fc", "dimension": 64, "group": "permutations x positive scales", "parameters": 64}],
        "theorems": [
            {
                "theorem": "kinks of one piecewise linear layer",
                "reach": "pointwise, global",
                "statement": "hyperplanes and jumps are determined",
                "holds": True,
                "hypotheses": {"no constant neuron (w = 0)": "holds (smallest |w| 0.4)"},
            },
            {
                "theorem": "Grillo and Montúfar 2026",
                "reach": "open set",
                "statement": "some open set of parameters is determined",
                "holds": False,
                "hypotheses": {"this parameter lies in the open set": "not checked"},
            },
        ],
        "rewritten": "redundant neurons taken out",
        "representations": {"head.fc:out": "D4: 3·A1 + 2·E"},
        "note": "",
    }


def realistic(*, side: int = 7, channels: int = 1) -> dict[str, Any]:
    """A trained convolutional network under D4: exact at the bottom, approximate above, one opaque layer."""
    return {
        "schema": "intertwiner.audit/1",
        "network": {
            "name": "ShapeNet",
            "dtype": "float32",
            "parameters": 48_210,
            "inputs": [[1, channels, 16, 16]],
            "outputs": {"output": [[1, 4]]},
            "operators_without_rule": [
                {
                    "tap": "trunk.1.attn:out",
                    "operator": "aten.scaled_dot_product_attention.default",
                    "reason": "attention needs a rule of its own",
                }
            ],
        },
        "group": {"name": "D4", "order": 8, "generators": ["r", "s"]},
        "symmetry": {"input": "image: quarter turn and left-right flip of the last two axes", "output": "invariant"},
        "data": {"source": "shapes.npz", "samples": 4096, "batches": 32, "note": "held-out half of the file"},
        "verdict": {
            "kind": "UNDECIDED",
            "claim": "f(g x) = f(x) for every g in D4",
            "reason": "the weight relations break at trunk.0.down:out and trunk.1.attn:out has no rule",
            "exact": False,
            "bound": None,
            "box": "",
            "theorem": "",
            "hypotheses": {},
            "witness": None,
        },
        "identifiability": _identifiability(),
        "defect": {
            "generators": {
                "r": {"value": 0.0873, "noise_floor": 3.4e-7, "null": 1.21},
                "s": {"value": 0.0612, "noise_floor": 3.2e-7, "null": 1.08},
            },
            "elements": dict(
                zip(
                    ["e", "r", "r2", "r3", "s", "r s", "r2 s", "r3 s"],
                    [0, 0.0873, 0.0911, 0.0869, 0.0612, 0.1, 0.08, 0.09],
                )
            ),
            "worst": 0.1,
        },
        "taps": [_exact(True, side, channels), _exact(False, side, channels), _trained(), _opaque(), _no_action()],
        "breaks": [
            {"tap": "trunk.0.down:out", "reason": "stride 2 on an even grid of 16", "size": 0.31},
            {"tap": "head.fc:out", "reason": "97 % of the orbit members are missing", "size": None},
        ],
        "notes": ["The figures of the data path were taken on held-out images only."],
        "missing": {},
        "seed": 20260121,
        "seconds": {"trace": 0.41, "defect": 1.9, "weights": 0.037, "data": 6.82},
        "environment": {"intertwiner": "0.1.0", "torch": "2.13.0", "python": "3.11.2", "machine": "x86_64, 2 cores"},
    }


def proved(*, exact: bool = True) -> dict[str, Any]:
    """A planted network: every layer exact."""
    record = realistic()
    record["taps"] = record["taps"][:2]
    record["network"]["operators_without_rule"] = []
    record["breaks"] = []
    record["verdict"] |= {
        "kind": "PROVED",
        "exact": exact,
        "reason": "all relations between the weights hold "
        + ("bit for bit" if exact else "within 1e-05 of the row norm"),
        "bound": None if exact else 3.2e-5,
        "box": "" if exact else "|x| <= 1",
    }
    return record


def refuted() -> dict[str, Any]:
    """A network with one moved weight, and the input that shows it."""
    record = realistic()
    record["verdict"] |= {
        "kind": "REFUTED",
        "reason": "the defect at the witness is 2,400 times the noise floor",
        "theorem": "Sussmann 1992 (pointwise, global)",
        "hypotheses": {
            "no zero outgoing column": "checked",
            "no two neurons equal up to sign": "checked, smallest angle .2",
        },
        "witness": {
            "inputs": {"x": {"shape": [1, 2], "dtype": "float64", "values": [0.25, -1.5]}},
            "element": "r",
            "defect": 0.0871,
            "noise_floor": 3.6e-5,
        },
    }
    return record


def minimal() -> dict[str, Any]:
    """Only what the schema requires."""
    return {
        "schema": "intertwiner.audit/1",
        "network": {"name": "net"},
        "group": {"name": "C2"},
        "verdict": {"kind": "UNDECIDED", "claim": "f(g x) = f(x)", "reason": "nothing was measured"},
        "taps": [{"name": "fc1:out"}, {"name": "fc2:out", "weights": None, "data": None, "orbits": None}],
    }


def big(count: int = 300) -> dict[str, Any]:
    """Hundreds of taps along a residual stream."""
    record = realistic()
    kinds = [_exact(False, 3, 1), _trained(), _opaque(), _no_action()]
    taps = []
    for i in range(count):
        tap = copy.deepcopy(kinds[(i * 7) % 5 % 4])
        tap["name"] = f"model.encoder.layers.{i // 4}.{('attn.out_proj', 'mlp.fc1', 'mlp.fc2', 'add')[i % 4]}:out"
        tap["space"] = "stream" if i % 4 == 3 else f"space{i}"
        taps.append(tap)
    record["taps"] = record["taps"][:1] + taps
    return record


def hostile(text: str = HOSTILE) -> dict[str, Any]:
    """The realistic record with every text replaced by an attack, as value and as key, where the schema allows any."""
    kept = {"schema", "kind", "status", "decision"}

    def poison(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            free = key in {
                "generators",
                "elements",
                "cycles",
                "environment",
                "seconds",
                "outputs",
                "hypotheses",
                "inputs",
            }
            return {(f"{text}{k}" if free else k): poison(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v, key) for v in value]
        return f"{text}{value}" if isinstance(value, str) and key not in kept else value

    record = refuted()
    record["missing"] = {"defect": "x"}
    return poison(record)
