"""An ONNX file, judged without ONNX Runtime: it is refused unless each part is understood."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.onnx.graph import (
    INT32,
    INT64,
    STRING,
    STRING_LONGEST,
    VALUES_MOST,
    Attribute,
    Graph,
    Int64,
    Node,
    Tensor,
)
from stream_scorer.models.importing.onnx.operators import (
    CORE,
    TRADITIONAL,
    ZIP_MAP,
    judge_operator,
)
from stream_scorer.models.importing.onnx.wire import (
    BYTES,
    EIGHT_BYTES,
    FOUR_BYTES,
    VARINT,
    Budget,
    KnownField,
    Message,
    as_text,
)
from stream_scorer.models.predictors.onnx_session import FEATURES_MOST

BYTES_MOST: Final = 64 * 1024 * 1024
"""Maximum bytes of a file."""

TENSOR_BYTES_MOST: Final = 48 * 1024 * 1024
"""Maximum bytes of all initialisers and constants together."""

NODES_MOST: Final = 10_000
TENSORS_MOST: Final = 10_000
DIMENSIONS_MOST: Final = 8
BATCH_MOST: Final = 4096
"""Maximum rows of a model whose number of rows is fixed."""

CLASSES_MOST: Final = 1000
INTEGERS_MOST: Final = 1_000_000
"""Maximum integers of all attributes together."""

_FLOAT, _DOUBLE = 1, 11
_NUMBERS: Final = (_FLOAT, _DOUBLE)

_MODEL: Final = {
    1: KnownField("ir_version", VARINT),
    2: KnownField("producer_name", BYTES),
    3: KnownField("producer_version", BYTES),
    4: KnownField("domain", BYTES),
    5: KnownField("model_version", VARINT),
    6: KnownField("doc_string", BYTES),
    7: KnownField("graph", BYTES),
    8: KnownField("opset_import", BYTES, repeated=True),
    14: KnownField("metadata_props", BYTES, repeated=True),
    20: KnownField("training_info", BYTES, repeated=True),
    25: KnownField("functions", BYTES, repeated=True),
    26: KnownField("configuration", BYTES, repeated=True),
}
_OPSET: Final = {1: KnownField("domain", BYTES), 2: KnownField("version", VARINT)}
_GRAPH: Final = {
    1: KnownField("node", BYTES, repeated=True),
    2: KnownField("name", BYTES),
    5: KnownField("initializer", BYTES, repeated=True),
    10: KnownField("doc_string", BYTES),
    11: KnownField("input", BYTES, repeated=True),
    12: KnownField("output", BYTES, repeated=True),
    13: KnownField("value_info", BYTES, repeated=True),
    14: KnownField("quantization_annotation", BYTES, repeated=True),
    15: KnownField("sparse_initializer", BYTES, repeated=True),
    16: KnownField("metadata_props", BYTES, repeated=True),
}
_NODE: Final = {
    1: KnownField("input", BYTES, repeated=True),
    2: KnownField("output", BYTES, repeated=True),
    3: KnownField("name", BYTES),
    4: KnownField("op_type", BYTES),
    5: KnownField("attribute", BYTES, repeated=True),
    6: KnownField("doc_string", BYTES),
    7: KnownField("domain", BYTES),
    8: KnownField("overload", BYTES),
    9: KnownField("metadata_props", BYTES, repeated=True),
    10: KnownField("device_configurations", BYTES, repeated=True),
}
_ATTRIBUTE: Final = {
    1: KnownField("name", BYTES),
    2: KnownField("f", FOUR_BYTES),
    3: KnownField("i", VARINT),
    4: KnownField("s", BYTES),
    5: KnownField("t", BYTES),
    6: KnownField("g", BYTES),
    7: KnownField("floats", FOUR_BYTES, repeated=True),
    8: KnownField("ints", VARINT, repeated=True),
    9: KnownField("strings", BYTES, repeated=True),
    10: KnownField("tensors", BYTES, repeated=True),
    11: KnownField("graphs", BYTES, repeated=True),
    13: KnownField("doc_string", BYTES),
    14: KnownField("tp", BYTES),
    15: KnownField("type_protos", BYTES, repeated=True),
    20: KnownField("type", VARINT),
    21: KnownField("ref_attr_name", BYTES),
    22: KnownField("sparse_tensor", BYTES),
    23: KnownField("sparse_tensors", BYTES, repeated=True),
}
_TYPES: Final = {"f": 1, "i": 2, "s": 3, "t": 4, "floats": 6, "ints": 7, "strings": 8}
"""The type of an attribute by the field of its value."""

_TENSOR: Final = {
    1: KnownField("dims", VARINT, repeated=True),
    2: KnownField("data_type", VARINT),
    3: KnownField("segment", BYTES),
    4: KnownField("float_data", FOUR_BYTES, repeated=True),
    5: KnownField("int32_data", VARINT, repeated=True),
    6: KnownField("string_data", BYTES, repeated=True),
    7: KnownField("int64_data", VARINT, repeated=True),
    8: KnownField("name", BYTES),
    9: KnownField("raw_data", BYTES),
    10: KnownField("double_data", EIGHT_BYTES, repeated=True),
    11: KnownField("uint64_data", VARINT, repeated=True),
    12: KnownField("doc_string", BYTES),
    13: KnownField("external_data", BYTES, repeated=True),
    14: KnownField("data_location", VARINT),
    16: KnownField("metadata_props", BYTES, repeated=True),
}
_VALUE: Final = {
    1: KnownField("name", BYTES),
    2: KnownField("type", BYTES),
    3: KnownField("doc_string", BYTES),
    4: KnownField("metadata_props", BYTES, repeated=True),
}
_TYPE: Final = {
    1: KnownField("tensor_type", BYTES),
    4: KnownField("sequence_type", BYTES),
    5: KnownField("map_type", BYTES),
    6: KnownField("denotation", BYTES),
    7: KnownField("opaque_type", BYTES),
    8: KnownField("sparse_tensor_type", BYTES),
    9: KnownField("optional_type", BYTES),
}
_TENSOR_TYPE: Final = {1: KnownField("elem_type", VARINT), 2: KnownField("shape", BYTES)}
_SHAPE: Final = {1: KnownField("dim", BYTES, repeated=True)}
_DIMENSION: Final = {
    1: KnownField("dim_value", VARINT),
    2: KnownField("dim_param", BYTES),
    3: KnownField("denotation", BYTES),
}
_ENTRY: Final = {1: KnownField("key", BYTES), 2: KnownField("value", BYTES)}

_DATA: Final[Mapping[int, tuple[int, str, int]]] = {
    1: (4, "float_data", FOUR_BYTES),
    2: (1, "int32_data", VARINT),
    3: (1, "int32_data", VARINT),
    4: (2, "int32_data", VARINT),
    5: (2, "int32_data", VARINT),
    6: (4, "int32_data", VARINT),
    7: (8, "int64_data", VARINT),
    8: (0, "string_data", BYTES),
    9: (1, "int32_data", VARINT),
    10: (2, "int32_data", VARINT),
    11: (8, "double_data", EIGHT_BYTES),
    12: (4, "uint64_data", VARINT),
    13: (8, "uint64_data", VARINT),
}
"""Bytes of an element, and the field and encoding of the elements, by data type."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What a file states, after it was judged.

    Attributes:
        input_name: The only input.
        double: Whether the input is float64; otherwise it is float32.
        feature_count: Its number of columns; None if the file leaves it open.
        batch_rows: Its number of rows; None if the file leaves it open.
        output_name: The output of numbers; for a ZipMap, what it reads.
        zip_map: The output of the ZipMap that must be removed before the model is run; empty if
            there is none.
        classes: The labels of the classes in the order of the columns; empty if the file has none.
        opset: The version of ``ai.onnx``; 0 if the file does not import it.
        producer: Name and version of the program that wrote the file.
        operators: The operators, sorted.
        graph: The nodes and constants, by which a run is bounded.
    """

    input_name: str
    double: bool
    feature_count: int | None
    batch_rows: int | None
    output_name: str
    zip_map: str
    classes: tuple[str, ...]
    opset: int
    producer: str
    operators: tuple[str, ...]
    graph: Graph = field(default_factory=Graph, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Value:
    name: str
    kind: str
    element: int
    shape: tuple[int | None, ...] | None


def judge(data: bytes) -> OnnxFile:
    """Judge an ONNX file without running it.

    Args:
        data: The file.

    Raises:
        ModelError: It is too large, malformed, or holds what is not supported; one line names it.
    """
    try:
        if len(data) > BYTES_MOST:
            raise ValueError(f"it has {len(data):,} bytes, more than {BYTES_MOST:,}")  # noqa: TRY301 one handler for all faults
        return _Judge().file(memoryview(data))
    except ValueError as error:
        raise ModelError(
            f"ONNX file: {error}", "export the model again, with operators on tensors only"
        ) from None


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")  # noqa: PLR2004 what fits in a line


class _Judge:
    """Reads one file."""

    def __init__(self) -> None:
        self._budget = Budget()
        self._tensor_bytes = 0
        self._tensors = 0
        self._integers = 0

    def file(self, data: memoryview) -> OnnxFile:
        if not len(data):
            raise ValueError("it is empty")
        model = self._message(data, _MODEL, "the model")
        for name, shown in (
            ("functions", "functions"), ("training_info", "training information"),
            ("configuration", "a configuration of devices"),
        ):  # fmt: skip
            if model.has(name):
                raise ValueError(f"it has {shown}")
        for each in model.messages("metadata_props"):
            if self._message(each, _ENTRY, "a property").text("key") == "ort_config":
                raise ValueError("its properties have options of ONNX Runtime")
        opset = self._opset(model)
        graphs = model.messages("graph")
        if not graphs:
            raise ValueError("it has no graph")
        graph = self._message(graphs[0], _GRAPH, "the graph")
        if graph.has("sparse_initializer"):
            raise ValueError("it has sparse initialisers")
        constants = self._initialisers(graph)
        given = [each for each in self._values(graph, "input") if each.name not in constants]
        if len(given) != 1:
            raise ValueError(f"it has {len(given)} inputs, not one matrix of features")
        rows, columns = _input_shape(given[0])
        nodes = self._nodes(graph, {*constants, given[0].name})
        output, zip_map, classes = self._output(graph, nodes)
        producer = f"{model.text('producer_name')} {model.text('producer_version')}".strip()
        return OnnxFile(
            given[0].name, given[0].element == _DOUBLE, columns, rows, output, zip_map, classes,
            opset, "".join(c for c in producer[:100] if c.isprintable()),
            tuple(sorted({each.operator for each in nodes})), Graph(tuple(nodes), constants),
        )  # fmt: skip

    def _message(self, data: memoryview, fields: Mapping[int, KnownField], place: str) -> Message:
        return Message(data, fields, place, self._budget)

    def _opset(self, model: Message) -> int:
        """Return the version of ``ai.onnx``, after refusing other domains."""
        versions: dict[str, int] = {}
        for each in model.messages("opset_import"):
            found = self._message(each, _OPSET, "an operator set")
            domain = _domain(found)
            if domain not in (CORE, TRADITIONAL):
                raise ValueError(f"it imports operators of the custom domain {_short(domain)}")
            version = found.integer("version")
            # Some exporters write the same version twice.
            if versions.setdefault(domain, version) != version:
                raise ValueError(f"it imports operators of {domain or 'ai.onnx'} in two versions")
        if not versions:
            raise ValueError("it imports no operators")
        return versions.get(CORE, 0)

    def _initialisers(self, graph: Message) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for each in graph.messages("initializer"):
            name, tensor = self._tensor(each, "an initialiser")
            if not name or name in found:
                raise ValueError(f"two initialisers have the name {_short(name)}")
            found[name] = tensor
        return found

    def _tensor(self, data: memoryview, place: str) -> tuple[str, Tensor]:
        """Compare a tensor's bytes with its shape; return its name, and what is known of it."""
        self._tensors += 1
        if self._tensors > TENSORS_MOST:
            raise ValueError(f"it has more than {TENSORS_MOST:,} initialisers and constants")
        tensor = self._message(data, _TENSOR, place)
        name = tensor.text("name")
        place = f"{place} {_short(name)}" if name else place
        if tensor.has("external_data") or tensor.integer("data_location"):
            raise ValueError(f"{place} has its data in another file")
        if tensor.has("segment"):
            raise ValueError(f"{place} is a segment of a tensor")
        kind = tensor.integer("data_type")
        if kind not in _DATA:
            raise ValueError(f"{place} has the unsupported data type {kind}")
        dimensions = tensor.integers("dims", DIMENSIONS_MOST)
        if any(each < 0 for each in dimensions):
            raise ValueError(f"{place} has a negative dimension")
        width, field, _ = _DATA[kind]
        elements = math.prod(dimensions)
        self._tensor_bytes += elements * max(width, 1)
        if self._tensor_bytes > TENSOR_BYTES_MOST:
            raise ValueError(f"initialisers and constants exceed {TENSOR_BYTES_MOST:,} bytes")
        _judge_elements(tensor, kind, elements, place)
        values = _integers(tensor, kind, field, elements)
        shape = tuple(dimensions)
        return name, Tensor(kind, shape, None if values is None else values.reshape(shape), True)

    def _values(self, graph: Message, name: str) -> list[_Value]:
        return [self._value(each, f"an {name}") for each in graph.messages(name)]

    def _value(self, data: memoryview, place: str) -> _Value:
        value = self._message(data, _VALUE, place)
        name = value.text("name")
        place = f"{place} {_short(name)}"
        types = value.messages("type")
        if not name or not types:
            raise ValueError(f"{place} has no name or no type")
        found = self._message(types[0], _TYPE, place)
        kinds = [each.name for each in _TYPE.values() if found.has(each.name)]
        kinds = [kind for kind in kinds if kind != "denotation"]
        if len(kinds) != 1:
            raise ValueError(f"{place} does not have one type")
        if kinds[0] != "tensor_type":
            return _Value(name, kinds[0], 0, None)
        tensor = self._message(found.messages("tensor_type")[0], _TENSOR_TYPE, place)
        shapes = tensor.messages("shape")
        shape = self._shape(shapes[0], place) if shapes else None
        return _Value(name, kinds[0], tensor.integer("elem_type"), shape)

    def _shape(self, data: memoryview, place: str) -> tuple[int | None, ...]:
        dimensions = self._message(data, _SHAPE, place).messages("dim")
        if len(dimensions) > DIMENSIONS_MOST:
            raise ValueError(f"{place} has more than {DIMENSIONS_MOST} dimensions")
        each = [self._message(dimension, _DIMENSION, place) for dimension in dimensions]
        return tuple(one.integer("dim_value") if one.has("dim_value") else None for one in each)

    def _nodes(self, graph: Message, known: set[str]) -> list[Node]:
        """Return the nodes, each of which reads only what is known before it."""
        data = graph.messages("node")
        if not 0 < len(data) <= NODES_MOST:
            raise ValueError(f"it has {len(data):,} nodes, not 1 to {NODES_MOST:,}")
        known = set(known)
        nodes = []
        for number, each in enumerate(data):
            node = self._node(each, f"node {number}")
            for name in node.inputs:
                if name and name not in known:
                    raise ValueError(
                        f"node {number} reads {_short(name)}, which no earlier node writes"
                    )
            for name in node.outputs:
                if name and name in known:
                    raise ValueError(f"node {number} writes {_short(name)} a second time")
                known.add(name)
            nodes.append(node)
        return nodes

    def _node(self, data: memoryview, place: str) -> Node:
        node = self._message(data, _NODE, place)
        operator = node.text("op_type")
        judge_operator(_domain(node), operator)
        place = f"{place} ({operator})"
        for name in ("overload", "device_configurations"):
            if node.has(name) and any(map(len, node.messages(name))):
                raise ValueError(f"{place} has the unsupported field {name}")
        inputs, outputs = (
            tuple(as_text(each, f"{place}: an {side}") for each in node.messages(side))
            for side in ("input", "output")
        )
        training = operator == "Dropout" and len(inputs) > 2 and inputs[2] != ""  # noqa: PLR2004 data, ratio, training mode
        found: dict[str, Attribute] = {}
        for each in node.messages("attribute"):
            attribute = self._message(each, _ATTRIBUTE, f"{place}: an attribute")
            name = attribute.text("name")
            if name in found:
                raise ValueError(f"{place} has the attribute {_short(name)} twice")
            found[name] = self._attribute(attribute, f"{place}: attribute {_short(name)}")
            training |= name == "training_mode" and found[name].integer != 0
            if name.startswith("classlabels") and (
                max(len(found[name].texts), len(found[name].integers)) > CLASSES_MOST
            ):
                raise ValueError(f"it has more than {CLASSES_MOST:,} classes")
        if training:
            raise ValueError(f"{place} is in training mode")
        return Node(operator, inputs, outputs, found)

    def _attribute(self, attribute: Message, place: str) -> Attribute:
        for name, shown in (
            ("g", "a graph"), ("graphs", "graphs"), ("sparse_tensor", "a sparse tensor"),
            ("sparse_tensors", "sparse tensors"), ("tp", "a type"), ("type_protos", "types"),
            ("tensors", "several tensors"), ("ref_attr_name", "a function's attribute"),
        ):  # fmt: skip
            if attribute.has(name):
                raise ValueError(f"{place} is {shown}")
        tensor = None
        for each in attribute.messages("t"):
            _, tensor = self._tensor(each, f"{place}: a tensor")
        found = [kind for name, kind in _TYPES.items() if attribute.has(name)]
        if found not in ([], [attribute.integer("type")]):
            raise ValueError(f"{place} has another type than its value")
        self._integers += attribute.count("ints", VARINT)
        if self._integers > INTEGERS_MOST:
            raise ValueError(f"its attributes have more than {INTEGERS_MOST:,} integers")
        return Attribute(
            attribute.integer("i"),
            tuple(attribute.integers("ints", INTEGERS_MOST)),
            attribute.count("floats", FOUR_BYTES),
            tuple(as_text(each, f"{place}: a text") for each in attribute.messages("strings")),
            attribute.text("s"),
            tensor,
        )

    def _output(self, graph: Message, nodes: list[Node]) -> tuple[str, str, tuple[str, ...]]:
        """Return the output of numbers, the ZipMap's output, and the class labels."""
        writers = {name: node for node in nodes for name in node.outputs}
        found: list[tuple[str, str]] = []
        for each in self._values(graph, "output"):
            writer = writers.get(each.name)
            if writer is None:
                raise ValueError(f"no node writes the output {_short(each.name)}")
            if writer.operator == ZIP_MAP:
                if len(writer.inputs) != 1 or writer.inputs[0] not in writers:
                    raise ValueError("a ZipMap does not read the output of a node")
                found.append((writer.inputs[0], each.name))
            elif each.kind != "tensor_type":
                raise ValueError(
                    f"the output {_short(each.name)} is a {each.kind.removesuffix('_type')}, "
                    "not a tensor"
                )
            elif each.element in _NUMBERS:
                found.append((each.name, ""))
        maps = {name for node in nodes if node.operator == ZIP_MAP for name in node.outputs}
        if maps - {zip_map for _, zip_map in found}:
            raise ValueError("the output of a ZipMap is not an output of the model")
        if len(found) != 1:
            names = ", ".join(_short(name) for name, _ in found[:4])
            raise ValueError(
                f"it has {len(found)} outputs of float numbers ({names or 'none'}), not one"
            )
        name, zip_map = found[0]
        writer = writers[zip_map] if zip_map else writers[name]
        return name, zip_map, _labels(writer) or _labels(writers[name])


def _domain(message: Message) -> str:
    domain = message.text("domain")
    return CORE if domain == "ai.onnx" else domain


def _labels(node: Node) -> tuple[str, ...]:
    """Return the class labels of a node, as texts."""
    for name, each in node.attributes.items():
        if name.startswith("classlabels"):
            return each.texts or tuple(map(str, each.integers))
    return ()


def _judge_elements(tensor: Message, kind: int, elements: int, place: str) -> None:
    """Compare the data of a tensor with the number of its elements."""
    width, field, encoding = _DATA[kind]
    raw = tensor.messages("raw_data")
    if raw and kind != STRING:
        found, needed, unit = len(raw[0]), elements * width, "bytes"
    else:
        found, needed, unit = tensor.count(field, encoding), elements, "elements"
    if found != needed:
        raise ValueError(f"{place} has {found:,} {unit}, its shape has {needed:,}")
    fields = {"raw_data"} | {each for _, each, _ in _DATA.values()}
    if sum(tensor.has(each) for each in fields) > 1:
        raise ValueError(f"{place} has its data twice")
    if any(len(each) > STRING_LONGEST for each in tensor.messages("string_data")):
        raise ValueError(f"{place} has a text of more than {STRING_LONGEST:,} bytes")


def _integers(tensor: Message, kind: int, field: str, elements: int) -> Int64 | None:
    """Return int64[elements]: the integers of a short tensor; None for any other one."""
    if kind not in (INT32, INT64) or elements > VALUES_MOST:
        return None
    raw = tensor.messages("raw_data")
    if raw:
        return np.frombuffer(raw[0], "<i4" if kind == INT32 else "<i8").astype(np.int64)
    values = np.array(tensor.integers(field, VALUES_MOST), np.int64)
    fits = kind == INT64 or bool((np.abs(values // 2) < 1 << 30).all())
    return values if fits else None


def _input_shape(value: _Value) -> tuple[int | None, int | None]:
    """Return the numbers of rows and columns of the input, each None if it is open."""
    place = f"the input {_short(value.name)}"
    if value.kind != "tensor_type" or value.element not in _NUMBERS:
        raise ValueError(f"{place} is not a tensor of float or double")
    if value.shape is None or len(value.shape) != 2:  # noqa: PLR2004 rows and columns
        raise ValueError(f"{place} does not have two dimensions, rows and features")
    # Some exporters write 0 or -1 for an open dimension.
    rows, columns = (each if each is not None and each > 0 else None for each in value.shape)
    if columns is not None and columns > FEATURES_MOST:
        raise ValueError(f"{place} has {columns:,} features, more than {FEATURES_MOST:,}")
    if rows is not None and rows > BATCH_MOST:
        raise ValueError(f"{place} has {rows:,} rows, more than {BATCH_MOST:,}")
    return rows, columns
