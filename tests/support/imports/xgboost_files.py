"""A small model file of XGBoost, written without the library, to be changed in one place."""

import copy
import json
import struct
from typing import Any

Document = dict[str, Any]

_BYTES = ("default_left", "split_type")
_FLOATS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
_LONGS = ("categories_segments", "categories_sizes")
_INTEGERS = (
    "categories", "categories_nodes", "left_children", "parents", "right_children", "split_indices",
)  # fmt: skip


def tree(number: int) -> Document:
    """Return a tree of seven nodes, of which node 2 splits on categories 1, 2 and 5."""
    return {
        "base_weights": [0.0] * 7,
        "categories": [1, 2, 5],
        "categories_nodes": [2],
        "categories_segments": [0],
        "categories_sizes": [3],
        "default_left": [1, 0, 1, 0, 0, 0, 0],
        "id": number,
        "left_children": [1, 3, 5, -1, -1, -1, -1],
        "loss_changes": [9.0, 4.0, 2.5, 0.0, 0.0, 0.0, 0.0],
        "parents": [2147483647, 0, 0, 1, 1, 2, 2],
        "right_children": [2, 4, 6, -1, -1, -1, -1],
        "split_conditions": [0.5, -1.25, 1e-45, -0.75, 0.125, 0.25 + number, 1.5],
        "split_indices": [0, 1, 2, 0, 0, 0, 0],
        "split_type": [0, 0, 1, 0, 0, 0, 0],
        "sum_hessian": [40.0, 30.0, 10.0, 16.0, 14.0, 4.0, 6.0],
        "tree_param": {
            "num_deleted": "0",
            "num_feature": "3",
            "num_nodes": "7",
            "size_leaf_vector": "1",
        },
    }


def document(trees: int = 3) -> Document:
    """Return the document of a model of three features, as XGBoost 3.2 writes it."""
    return {
        "learner": {
            "attributes": {},
            "feature_names": ["amount", "hour", "channel"],
            "feature_types": ["float", "float", "c"],
            "gradient_booster": {
                "model": {
                    "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(trees)},
                    "iteration_indptr": list(range(trees + 1)),
                    "tree_info": [0] * trees,
                    "trees": [tree(number) for number in range(trees)],
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": "[2.5E-1]",
                "boost_from_average": "1",
                "num_class": "0",
                "num_feature": "3",
                "num_target": "1",
            },
            "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": [3, 2, 0],
    }


def dart_document(weights: list[Any]) -> Document:
    """Return the document of a DART model, with its trees one level deeper."""
    changed = document(len(weights))
    learner = changed["learner"]
    inner = learner["gradient_booster"]
    learner["gradient_booster"] = {"gbtree": inner, "name": "dart", "weight_drop": weights}
    return changed


def changed(path: str, value: Any, base: Document | None = None) -> Document:
    """Return a document in which one value is another, or is removed if ``value`` is ``...``.

    Args:
        path: Names and numbers joined by dots; ``tree`` stands for the first tree, ``learner`` and
            ``model`` for their sections.
        value: The new value.
        base: The document; None for :func:`document`.
    """
    found = copy.deepcopy(document() if base is None else base)
    booster = found["learner"]["gradient_booster"]
    model = booster.get("gbtree", booster)["model"]
    *steps, last = path.split(".")
    at: Any = found
    if steps:
        named = {"learner": found["learner"], "model": model, "tree": model["trees"][0]}
        at = named[steps[0]]
        for step in steps[1:]:
            at = at[int(step)] if isinstance(at, list) else at[step]
    if value is ...:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return found


def to_json(value: Document) -> bytes:
    """Return a document as JSON."""
    return json.dumps(value).encode()


def to_ubj(value: Any, name: str = "") -> bytes:
    """Return a value as XGBoost writes it in UBJ.

    Args:
        value: The value.
        name: Its name, which decides about the type of a list of numbers.
    """
    if isinstance(value, dict):
        members = (_length(key.encode()) + to_ubj(below, key) for key, below in value.items())
        return b"{" + b"".join(members) + b"}"
    if isinstance(value, list):
        for names, kind, form in (
            (_BYTES, b"U", "B"), (_FLOATS, b"d", "f"), (_LONGS, b"L", "q"), (_INTEGERS, b"l", "i"),
        ):  # fmt: skip
            if name in names:
                head = b"[$" + kind + b"#L" + struct.pack(">q", len(value))
                return head + struct.pack(f">{len(value)}{form}", *value)
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(to_ubj(each) for each in value)
    if isinstance(value, str):
        return b"S" + _length(value.encode())
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    number = isinstance(value, float)
    return b"d" + struct.pack(">f", value) if number else b"l" + struct.pack(">i", value)


def _length(text: bytes) -> bytes:
    """Return a text after its length."""
    return b"L" + struct.pack(">q", len(text)) + text
