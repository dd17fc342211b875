"""Removes a ZipMap: it turns a tensor of probabilities into a list of dictionaries, one a row."""

from typing import Final

from stream_scorer.models.importing.onnx.file import OnnxFile
from stream_scorer.models.importing.onnx.wire import (
    Budget,
    length_delimited,
    varint,
    wire_fields,
)

_GRAPH_OF_MODEL: Final = 7
_NODE_OF_GRAPH: Final = 1
_OUTPUT_OF_GRAPH: Final = 12
_OUTPUT_OF_NODE: Final = 2
_NAME, _TYPE, _TENSOR_TYPE, _ELEMENT = 1, 2, 1, 1
_FLOAT: Final = 1


def without_zip_map(data: bytes, file: OnnxFile) -> bytes:
    """Return the file without its ZipMap; its output is what the ZipMap read, as a tensor.

    Args:
        data: The file, which was judged.
        file: What it states.
    """
    if not file.zip_map:
        return data
    budget, view = Budget(), memoryview(data)
    pieces = []
    for each in wire_fields(view, "the model", budget):
        if each.number == _GRAPH_OF_MODEL and isinstance(each.value, memoryview):
            pieces.append(length_delimited(_GRAPH_OF_MODEL, _graph(each.value, file, budget)))
        else:
            pieces.append(bytes(view[each.begin : each.end]))
    return b"".join(pieces)


def _graph(graph: memoryview, file: OnnxFile, budget: Budget) -> bytes:
    """Return the graph with the ZipMap's node and output replaced."""
    dropped = {_NODE_OF_GRAPH: _OUTPUT_OF_NODE, _OUTPUT_OF_GRAPH: _NAME}
    pieces = []
    for each in wire_fields(graph, "the graph", budget):
        field = dropped.get(each.number)
        if field is not None and isinstance(each.value, memoryview):
            inner = wire_fields(each.value, "the graph", budget)
            texts = [one.value for one in inner if one.number == field]
            if memoryview(file.zip_map.encode()) in texts:
                continue
        pieces.append(bytes(graph[each.begin : each.end]))
    tensor = varint(_ELEMENT << 3) + varint(_FLOAT)
    kind = length_delimited(_TENSOR_TYPE, tensor)
    output = length_delimited(_NAME, file.output_name.encode()) + length_delimited(_TYPE, kind)
    pieces.append(length_delimited(_OUTPUT_OF_GRAPH, output))
    return b"".join(pieces)
