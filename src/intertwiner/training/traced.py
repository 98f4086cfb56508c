"""What the traced graph says beside the records: tensors that an unknown operator takes, rates of dropout."""

from __future__ import annotations

from intertwiner.network import Network, Node


def held_by(network: Network, node: Node) -> set[str]:
    """State_dict names of the tensors that a traced operator takes, besides values of the network.

    Example:
        >>> import torch
        >>> from intertwiner.network import trace
        >>> net = trace(torch.nn.Linear(2, 3), torch.zeros(2, 2))
        >>> sorted(held_by(net, net.node("linear")))
        ['bias', 'weight']
    """
    known = {n.source for n in network.nodes if n.source != node.source}
    todo = [n for n in network.module.graph.nodes if n.name == node.source]
    found: set[str] = set()
    while todo:
        for before in todo.pop().all_input_nodes:
            if before.op == "get_attr":
                found.add(network.names.get(str(before.target), str(before.target)))
            elif before.name not in known:
                todo.append(before)
    return found


def dropout_rate(network: Network, node: Node) -> float:
    """The share that a dropout takes out; a half where the trace does not say."""
    traced = next((n for n in network.module.graph.nodes if n.name == node.source), None)
    given = traced.args[1] if traced is not None and len(traced.args) > 1 else 0.5
    return float(given) if isinstance(given, int | float) else 0.5
