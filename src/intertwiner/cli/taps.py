"""``intertwiner taps``: the names that ``--taps`` and ``--outputs`` take, with latent spaces and their gauge groups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from intertwiner.cli.audit import print_json, tolerant_output
from intertwiner.cli.code import code_of
from intertwiner.cli.exits import PROVED
from intertwiner.cli.subject import Words, open_network
from intertwiner.cli.terminal import columns, paragraph

if TYPE_CHECKING:
    from intertwiner.network import Network

WIDTHS = (34, 16, 14, 16)


def run_taps(words: Words, as_json: bool) -> int:
    """List the taps of a network; nothing is audited."""
    with code_of([words.model, *words.data]):
        network = open_network(words).network
    record = taps_record(network)
    if as_json:
        print_json(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    else:
        _print(record)
    return PROVED


def taps_record(network: Network) -> dict[str, Any]:
    """Inputs, taps, latent spaces and operators without a rule, as plain data."""
    space_of = {node: space.name for space in network.latent_spaces for node, _ in space.slots}
    return {
        "network": network.name,
        "parameters": network.parameters,
        "batch_size": network.batch_size,
        "inputs": [{"name": s.name, "shape": list(s.shape[1:]), "dtype": _type(s.dtype)} for s in network.inputs],
        "outputs": list(network.outputs),
        "taps": [
            {"name": n.tap, "operator": n.op.kind, "shape": list(n.sample_shape), "space": space_of.get(n.name)}
            for n in network.nodes
            if n.tap
        ],
        "spaces": [
            {
                "name": s.name,
                "dimension": s.dimension,
                "gauge": None if s.given or s.opaque else str(s.gauge),
                "given": s.given,
                "opaque": s.opaque,
            }
            for s in network.latent_spaces
        ],
        "operators_without_rule": [{"tap": t, "operator": o, "reason": r} for t, o, r in network.unruled],
    }


def _type(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _print(record: dict[str, Any]) -> None:
    tolerant_output()
    print(f"{record['network']}: {record['parameters']:,} parameters")
    for entry in record["inputs"]:
        print(paragraph(f"input {entry['name']}: {entry['dtype']}, one sample {_shape(entry['shape'])}"))
    print(paragraph(f"outputs: {', '.join(record['outputs'])}"))
    if record["batch_size"] is not None:
        print(paragraph(f"exported with the fixed batch size {record['batch_size']}; other sizes are padded"))
    print("\n" + columns(("tap", "operator", "sample shape", "latent space"), WIDTHS))
    for tap in record["taps"]:
        print(columns((tap["name"], tap["operator"], _shape(tap["shape"]), tap["space"] or "-"), WIDTHS))
    print("\n" + columns(("latent space", "dimension", "gauge group"), (34, -9, 36)))
    for space in record["spaces"]:
        what = space["gauge"] or (f"given: {space['given']}" if space["given"] else "unknown")
        print(columns((space["name"], str(space["dimension"]), what), (34, -9, 36)))
        if space["opaque"]:
            print(paragraph(space["opaque"], indent=4))
    for row in record["operators_without_rule"]:
        print(paragraph(f"no rule for {row['operator']} at {row['tap']}: {row['reason']}", indent=0))


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
