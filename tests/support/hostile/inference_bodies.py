"""Hostile bodies of inference requests for a model of the features F0 to F6."""

import json
import struct
from typing import Any

import numpy as np

from tests.support.serving.inference_calls import NAMES, features_input

ROWS = np.arange(14.0).reshape(2, 7)
GOOD = features_input(ROWS)


def text(**changes: Any) -> bytes:
    """Return a request whose input has changes; a change to None removes the member."""
    tensor = {name: each for name, each in {**GOOD, **changes}.items() if each is not None}
    return json.dumps({"inputs": [tensor]}).encode()


def raw(data: str) -> bytes:
    """Return a request with the text of ``data``."""
    return b'{"inputs":[{"name":"features","shape":[1,7],"datatype":"FP64","data":%s}]}' % (
        data.encode()
    )


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


DATA_ERRORS: dict[str, tuple[bytes, str]] = {
    "product of the shape overflows": (text(shape=[2**33, 2**33]), "its shape is"),
    "shape of the model, rows overflow": (text(shape=[2**61, 7]), "1 to 100 rows"),
    "dimension of 2**64": (text(shape=[2**64, 7]), "1 to 100 rows"),
    "dimension of 200 digits": (text(shape=[10**199, 7]), "1 to 100 rows"),
    "negative rows": (text(shape=[-2, 7]), "1 to 100 rows"),
    "two negative dimensions": (text(shape=[-2, -7]), "its shape is"),
    "no rows": (text(shape=[0, 7], data=[]), "1 to 100 rows"),
    "no dimensions": (text(shape=[]), "its shape is"),
    "three dimensions": (text(shape=[1, 2, 7]), "its shape is"),
    "thousand dimensions": (text(shape=[1] * 1000), "its shape is"),
    "dimension that is a fraction": (text(shape=[2.5, 7]), "Expected `int`"),
    "dimension that is a truth value": (text(shape=[True, 7]), "Expected `int`"),
    "shape that is a number": (text(shape=7), "Expected `array`"),
    "too many rows": (text(shape=[101, 7], data=[0] * 707), "1 to 100 rows"),
    "data shorter than the shape": (text(data=[1.0] * 13), "13 elements, the shape 14"),
    "data longer than the shape": (text(data=[1.0] * 15), "15 elements, the shape 14"),
    "no data": (text(data=None), "data is missing"),
    "empty data": (text(data=[]), "0 elements"),
    "data that is null": (raw("null"), "Expected `array`"),
    "data that is an object": (raw("{}"), "Expected `array`"),
    "data that is a number": (raw("1"), "Expected `array`"),
    "data that is a string": (raw('"1234567"'), "Expected `array`"),
    "rows of different length": (text(data=[[1] * 6, [1] * 8]), "differ in length"),
    "rows and columns swapped": (text(data=[[1, 1]] * 7), "dimensions of the shape"),
    "one row too few": (text(data=[[1] * 14]), "dimensions of the shape"),
    "row next to a number": (text(data=[[1] * 7, 1]), "Expected `array`"),
    "number next to a row": (text(data=[1, [1] * 7]), "Expected"),
    "nested too deeply": (text(data=[[[1] * 7] * 2]), "Expected"),
    "rows for a vector": (
        text(name="F0", shape=[2], data=[[1], [1]]), "got `array`"
    ),
    "NaN": (raw("[NaN,1,1,1,1,1,1]"), "malformed"),
    "Infinity": (raw("[Infinity,1,1,1,1,1,1]"), "malformed"),
    "-Infinity": (raw("[-Infinity,1,1,1,1,1,1]"), "malformed"),
    "number that overflows": (raw("[1e400,1,1,1,1,1,1]"), "out of range"),
    "hexadecimal number": (raw("[0x10,1,1,1,1,1,1]"), "malformed"),
    "leading zero": (raw("[01,1,1,1,1,1,1]"), "malformed"),
    "leading plus": (raw("[+1,1,1,1,1,1,1]"), "malformed"),
    "trailing comma": (raw("[1,1,1,1,1,1,1,]"), "malformed"),
    "string for a number": (text(data=["1"] * 14), "got `str`"),
    "truth value for a number": (text(data=[True] * 14), "got `bool`"),
    "number for a truth value": (text(datatype="BOOL", data=[1] * 14), "got `int`"),
    "fraction for an integer": (text(datatype="INT64", data=[0.5] * 14), "got `float`"),
    "null for an integer": (text(datatype="INT64", data=[None] * 14), "got `null`"),
    "integer out of range": (text(datatype="INT8", data=[128] * 14), "range of INT8"),
    "negative unsigned integer": (text(datatype="UINT8", data=[-1] * 14), "range of UINT8"),
    "integer of 100 digits": (text(datatype="INT64", data=[10**99] * 14), "range of INT64"),
    "integer that float64 does not have": (
        text(datatype="INT64", data=[2**53 + 1] * 14), "no equal float64"
    ),
    "largest INT64": (text(datatype="INT64", data=[2**63 - 1] * 14), "no equal float64"),
    "largest UINT64": (text(datatype="UINT64", data=[2**64 - 1] * 14), "no equal float64"),
    "number out of FP32": (text(datatype="FP32", data=[1e39] * 14), "range of FP32"),
    "number out of FP16": (text(datatype="FP16", data=[7e4] * 14), "range of FP16"),
    "BF16 as JSON": (text(datatype="BF16"), "send binary data"),
    "BYTES": (text(datatype="BYTES", data=["1"] * 14), "a feature is a number"),
    "unknown datatype": (text(datatype="FP128"), "unknown datatype"),
    "datatype in lower case": (text(datatype="fp64"), "unknown datatype"),
    "datatype with a line feed": (text(datatype="\nFP64"), "unknown datatype '\\nFP64'"),
    "datatype of a megabyte": (text(datatype="x" * 2**20), "unknown datatype"),
    "unknown name": (text(name="other"), "unknown input 'other'"),
    "name of a megabyte": (text(name="x" * 2**20), "unknown input"),
    "name with an escape sequence": (text(name="\x1b[2J"), "unknown input"),
    "name of a lone surrogate": (text(name="\ud800"), ""),
    "one feature alone": (text(name="F0", shape=[1], data=[1]), "input 'F1' is missing"),
    "wrong shape of one feature": (text(name="F0", shape=[1, 2], data=[1, 1]), "[rows, 1]"),
    "parameters that are a list": (text(parameters=[]), "Expected `object`"),
    "parameters that are null": (raw('[1],"parameters":null'), "Expected `object`"),
    "parameter that is an object": (text(parameters={"x": {}}), "Expected"),
    "parameter of another extension": (
        text(parameters={"sequence_id": 1}), "sequence_id is not supported"
    ),
    "parameter that is null": (raw('[1],"parameters":{"x":null}'), "Expected"),
}  # fmt: skip

FORM_ERRORS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not valid"),
    "not JSON": (b"features", "malformed"),
    "a list": (b"[]", "Expected `object`"),
    "two objects": (b'{"inputs":[]}{}', "malformed"),
    "no inputs": (b"{}", "inputs"),
    "inputs that are empty": (b'{"inputs":[]}', "no inputs"),
    "inputs that are null": (b'{"inputs":null}', "Expected `array`"),
    "input that is a list": (b'{"inputs":[[]]}', "Expected `object`"),
    "input without members": (b'{"inputs":[{}]}', "required field"),
    "id that is a number": (b'{"id":1,"inputs":[]}', "Expected `str`"),
    "id that is null": (b'{"id":null,"inputs":[]}', "Expected `str`"),
    "id that is not UTF-8": (b'{"id":"\xff","inputs":[]}', "not valid"),
    "input that is not UTF-8": (b'{"inputs":[{"name":"\xc3("}]}', "not valid"),
    "byte order mark": (b"\xef\xbb\xbf{}", "malformed"),
    "UTF-16": ("{}".encode("utf-16"), "malformed"),
    "deep nesting of data": (raw(deep(100_000)), ""),
    "deep nesting of an unknown member": (
        b'{"inputs":[],"x":%s}' % deep(100_000).encode(), ""
    ),
    "deep nesting of objects": (b'{"x":' * 100_000, "not valid"),
    "two inputs of one name": (
        json.dumps({"inputs": [GOOD, GOOD]}).encode(), "same name"
    ),
    "matrix next to a feature": (
        json.dumps({"inputs": [GOOD, {**GOOD, "name": "F0", "shape": [2], "data": [1, 1]}]})
        .encode(), "is missing"
    ),
    "matrix next to all features": (
        json.dumps({"inputs": [GOOD, *({**GOOD, "name": n, "shape": [2], "data": [1, 1]}
                                       for n in NAMES)]}).encode(), "sent alone"
    ),
    "features of different rows": (
        json.dumps({"inputs": [{**GOOD, "name": n, "shape": [1 + at % 2],
                                "data": [1] * (1 + at % 2)} for at, n in enumerate(NAMES)]})
        .encode(), "number of rows"
    ),
    **{
        f"{name} for one of all features": (
            json.dumps({"inputs": [
                {"name": n, "shape": [1], "datatype": "FP64", "data": [1], **(change if at == 3
                    else {})}
                for at, n in enumerate(NAMES)]}).encode(), message
        )
        for name, change, message in (
            ("no data", {"data": {}}, "Expected `array`"),
            ("a text", {"data": ["1"]}, "got `str`"),
            ("a truth value", {"data": [True]}, "got `bool`"),
            ("two rows", {"data": [1, 1]}, "2 elements, the shape 1"),
            ("nothing", {"data": []}, "0 elements, the shape 1"),
            ("a nested value", {"data": [[1]]}, "got `array`"),
            ("another shape", {"shape": [2]}, "1 elements, the shape 2"),
            ("another name", {"name": "F9"}, "unknown input 'F9'"),
            ("the name of another", {"name": "F0"}, "same name"),
        )
    },
    "all features without data": (
        json.dumps({"inputs": [{"name": n, "shape": [1], "datatype": "FP64"} for n in NAMES]})
        .encode(), "data is missing"
    ),
    "all features with too many rows": (
        json.dumps({"inputs": [{"name": n, "shape": [101], "datatype": "FP64",
                                "data": [1] * 101} for n in NAMES]}).encode(), "1 to 100 rows"
    ),
    "unknown output": (
        json.dumps({"inputs": [GOOD], "outputs": [{"name": "\n"}]}).encode(), "unknown output"
    ),
    "output that is requested twice": (
        json.dumps({"inputs": [GOOD], "outputs": [{"name": "score"}] * 2}).encode(), "twice"
    ),
    "outputs that are null": (
        json.dumps({"inputs": [GOOD], "outputs": None}).encode(), "Expected `array`"
    ),
    "binary_data that is a number": (
        json.dumps({"inputs": [GOOD], "outputs": [{"name": "score",
                    "parameters": {"binary_data": 1}}]}).encode(), "true or false"
    ),
    "binary_data_output that is a text": (
        json.dumps({"inputs": [GOOD], "parameters": {"binary_data_output": "true"}}).encode(),
        "true or false"
    ),
}  # fmt: skip


def sized(size: Any, **changes: Any) -> bytes:
    return text(data=None, parameters={"binary_data_size": size}, **changes)


BYTES = ROWS.tobytes()
LIES: dict[str, tuple[bytes, bytes, str | None, str]] = {
    # JSON, what comes after it, the header or None: the right length; the message
    "header that is not a number": (sized(112), BYTES, "x", "not a length"),
    "negative header": (sized(112), BYTES, "-1", "not a length"),
    "header with a sign": (sized(112), BYTES, "+1", "not a length"),
    "header with a blank": (sized(112), BYTES, " 1", "not a length"),
    "header in other digits": (sized(112), BYTES, "\u0661", "not a length"),
    "header of 5,000 digits": (sized(112), BYTES, "9" * 5000, "not a length"),
    "empty header": (sized(112), BYTES, "", "not a length"),
    "header past the body": (sized(112), BYTES, "1000", "not a length"),
    "header of zero": (sized(112), BYTES + b"\0", "0", "not rows of 7"),
    "header inside the object": (sized(112), BYTES, "20", "not valid"),
    "header inside the data": (sized(112), BYTES, "200", "not valid"),
    "size past the body": (sized(113), BYTES, None, "beyond the body"),
    "size of 2**63": (sized(2**63), BYTES, None, "beyond the body"),
    "negative size": (sized(-112), BYTES, None, "beyond the body"),
    "size that is a truth value": (sized(True), BYTES, None, "beyond the body"),
    "size that is a text": (sized("112"), BYTES, None, "beyond the body"),
    "size that is a fraction": (sized(112.0), BYTES, None, "beyond the body"),
    "size shorter than the shape": (sized(104), BYTES, None, "104 bytes of data"),
    "size longer than the shape": (sized(112, shape=[1, 7]), BYTES, None, "112 bytes of data"),
    "size of zero": (sized(0), b"", None, "0 bytes of data"),
    "bytes after the data": (sized(112), BYTES + b"x", None, "1 bytes after"),
    "bytes without a tensor": (text(), BYTES, None, "112 bytes after"),
    "data twice": (text(parameters={"binary_data_size": 112}), BYTES, None, "both data and"),
    "other data type": (sized(112, datatype="FP32"), BYTES, None, "elements of FP32"),
    "BOOL of 2": (sized(14, datatype="BOOL"), b"\x02" * 14, None, "neither 0 nor 1"),
    "INT64 that float64 does not have": (
        sized(112, datatype="INT64"), struct.pack("<q", -(2**53) - 1) * 14, None, "no equal"
    ),
    "BYTES whose lengths lie": (
        sized(8, datatype="BYTES", shape=[1, 7]), b"\xff\xff\xff\xff1234", None, "is a number"
    ),
}  # fmt: skip
