"""What becomes of a graph's tensors, asked before any is laid out: the borders that their readers want, and which need
never be in memory."""

from __future__ import annotations

from kernels.graph.expressions import ELEMENTWISE
from kernels.graph.onnx_reader import Graph, Node
from kernels.graph.products import NO_HALO

Halo = tuple[int, int, int, int]


def wanted_halos(graph: Graph) -> dict[str, Halo]:
    """Returns the border that the readers of each quantised tensor want around it, by the name that QuantizeLinear
    gives it.

    A tensor that any image op reads is in the table, with no border if it wants none: it is laid out as an image.
    """
    through = {node.outputs[0]: node.inputs[0] for node in graph.nodes
               if node.op == "DequantizeLinear" and node.inputs and node.outputs}  # fmt: skip
    found: dict[str, Halo] = {}
    for node in graph.nodes:
        if node.op in ("Conv", "ConvTranspose", "GlobalAveragePool", "AveragePool", "MaxPool") and node.inputs:
            name = through.get(node.inputs[0], node.inputs[0])
            pads = node.attributes.get("pads", (0, 0, 0, 0))
            is_conv = node.op == "Conv" and isinstance(pads, tuple) and len(pads) == 4
            halo = tuple(int(p) for p in pads) if is_conv and isinstance(pads, tuple) else NO_HALO
            if min(halo) < 0 or max(halo) > 4096:
                continue
            old = found.get(name, NO_HALO)
            found[name] = (max(old[0], halo[0]), max(old[1], halo[1]), max(old[2], halo[2]), max(old[3], halo[3]))
    return found


def sole_readers(graph: Graph) -> set[str]:
    """Returns the quantised tensors that end, by whatever element-wise ops with constants, in one QuantizeLinear and
    nothing else.

    Such a tensor need never be in memory: what makes it can go on through a table.
    """
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in set(node.inputs):
            consumers.setdefault(name, []).append(node)
    results = {info.name for info in graph.outputs}
    fixed = set(graph.initializers) | {
        node.outputs[0] for node in graph.nodes if node.op == "Constant" and node.outputs
    }
    found: set[str] = set()
    for node in graph.nodes:
        if node.op != "QuantizeLinear" or not node.outputs or node.outputs[0] in results:
            continue
        reach, todo, ends, plain = {node.outputs[0]}, [node.outputs[0]], set(), True
        nodes: dict[int, Node] = {}
        while todo and plain and len(nodes) < 64:
            for reader in consumers.get(todo.pop(), ()):
                if id(reader) in nodes:
                    continue
                nodes[id(reader)] = reader
                if reader.op == "QuantizeLinear":
                    ends.add(reader.outputs[0])
                elif reader.op in ELEMENTWISE or reader.op in ("Clip", "DequantizeLinear"):
                    reach.update(reader.outputs)
                    todo.extend(reader.outputs)
                else:
                    plain = False
        closed = all(name in reach or name in fixed or not name for reader in nodes.values() for name in reader.inputs)
        if plain and closed and len(ends) == 1 and not todo and not reach & results:
            found.add(node.outputs[0])
    return found
