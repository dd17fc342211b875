"""The layout of LightGBM's text format: a header, the trees, and what follows them.

::

    tree                          the header: lines of "key=value", and "average_output"
    version=v4
    ...
    tree_sizes=558 567            bytes of each tree below

    Tree=0                        a tree: lines of "key=value", then two empty lines
    num_leaves=4
    ...
    end of trees
    ...
    parameters:                   those of the training, one a line: "[key: value]"
    ...
    pandas_categorical:null       the last line, if Python wrote the file

The library is lenient with files of another layout: it takes the last of two equal keys, and skips
what it does not know. Here such a file is refused, because it may mean something else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.lightgbm.number_lists import FIX, integers, malformed

BYTES_MOST: Final = 256 << 20
"""Maximum size of a file."""

TREES_MOST: Final = 1 << 16
"""Maximum trees of a file."""

LINES_MOST: Final = 32
"""Maximum lines of a header or a tree; the library writes at most 22."""

PARAMETERS_BYTES_MOST: Final = 4 << 20
"""Maximum bytes of the parameters; they are reported and do not change a score."""

VERSIONS: Final = ("v3", "v4")
"""Versions of the format: LightGBM 2.3 to 3.3 write v3, and 4.0 and later v4."""

FLAGS: Final = ("average_output",)
"""Lines of a header that have no value."""

HEADER_KEYS: Final = frozenset({
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective",
    "feature_names", "monotone_constraints", "feature_infos", "tree_sizes",
})  # fmt: skip

TREE_KEYS: Final = frozenset({
    "num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type",
    "left_child", "right_child", "leaf_value", "leaf_weight", "leaf_count", "internal_value",
    "internal_weight", "internal_count", "cat_boundaries", "cat_threshold", "is_linear",
    "shrinkage", "leaf_const", "num_features", "leaf_features", "leaf_coeff",
})  # fmt: skip

_PARAMETER: Final = re.compile(rb"\[(\w{1,64}): ([^\n\]]{0,100})\]")


@dataclass(frozen=True, slots=True)
class Sections:
    """A file, divided.

    Attributes:
        header: The header's values; a flag has an empty one.
        sizes: Bytes of each tree.
        data: The file.
        first_tree: Where the first tree begins.
        parameters: Parameters of the training.
        pandas_categorical: The categories of a pandas table as the file writes them.
    """

    header: dict[str, bytes]
    sizes: tuple[int, ...]
    data: bytes
    first_tree: int
    parameters: dict[str, str]
    pandas_categorical: bytes

    def trees(self, every: int = 1, first: int = 0) -> Iterator[tuple[int, dict[str, bytes]]]:
        """Yield trees with their numbers, each as its values by key.

        All trees are judged, also those that are not yielded.

        Args:
            every: Yield each of so many trees.
            first: Number of the first tree to yield.

        Raises:
            ModelError: A tree has another layout than the library writes.
        """
        at = self.first_tree
        for number, size in enumerate(self.sizes):
            values = _tree_values(number, self.data[at : at + size])
            if number % every == first:
                yield number, values
            at += size


def divide(data: bytes) -> Sections:
    """Find the parts of a file.

    Args:
        data: The content of a file that ``Booster.save_model`` or LightGBM's command line wrote.

    Raises:
        ModelError: It is too large, or not of this format.
    """
    if len(data) > BYTES_MOST:
        raise ModelError(
            f"model: the file is larger than {BYTES_MOST >> 20} MiB", "train a smaller model"
        )
    if data.startswith(b"tree\r\n"):
        raise ModelError("model: the file has line ends of Windows", "copy it in binary mode")
    if not data.startswith(b"tree\n"):
        raise ModelError("model: the file is not a text model: its first line is not 'tree'", FIX)
    header, first_tree = _header(data)
    sizes = _tree_sizes(header["tree_sizes"])
    past = first_tree + sum(sizes)
    if not data.startswith(b"end of trees\n", past):
        raise malformed("the trees do not end where tree_sizes states")
    return Sections(
        header, sizes, data, first_tree, _parameters(data, past), _pandas_categorical(data, past)
    )


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    """Return the header's values, and where the trees begin."""
    values: dict[str, bytes] = {}
    at = len(b"tree\n")
    for _ in range(LINES_MOST):
        end = data.find(b"\n", at)
        if end < 0:
            raise malformed("the file ends in its header")
        line, at = data[at:end], end + 1
        if not line:
            break
        _add(values, "the header", line, HEADER_KEYS, FLAGS)
    else:
        raise malformed(f"the header has more than {LINES_MOST} lines")
    _judge_version(values)
    missing = HEADER_KEYS - {"objective", "monotone_constraints"} - values.keys()
    if missing:
        raise malformed(f"the header has no {min(missing)}")
    return values, at


def _judge_version(header: dict[str, bytes]) -> None:
    version = header.get("version", b"")
    if version not in [known.encode() for known in VERSIONS]:
        raise ModelError(
            f"model: the format's version is {printed(version)}, not {' or '.join(VERSIONS)}",
            "load the model with LightGBM 4 and save it again",
        )


def printed(text: bytes, most: int = 60) -> str:
    """Return a text of the file for an error: quoted, of one line and at most so many bytes."""
    return repr(text[:most].decode("utf-8", "backslashreplace")) + "..." * (len(text) > most)


def _add(
    values: dict[str, bytes], where: str, line: bytes, keys: frozenset[str], flags: tuple[str, ...]
) -> None:
    """Add the value of a line.

    Raises:
        ModelError: The line has an unknown key, or a key for the second time.
    """
    name, equals, value = line.partition(b"=")
    key = name.decode("ascii", "replace")
    if key not in (keys if equals else flags):
        raise malformed(f"{where} has an unknown line {printed(line)}")
    if key in values:
        raise malformed(f"{where} has two lines of {key}")
    # The library ends a line at these bytes.
    if b"\r" in value or b"\0" in value:
        raise malformed(f"{where} has a control character in {key}")
    values[key] = value


def _tree_sizes(text: bytes) -> tuple[int, ...]:
    count = text.count(b" ") + 1 if text else 0
    if count == 0:
        raise ModelError("model: it has no trees", "train it for at least one round")
    if count > TREES_MOST:
        raise ModelError(
            f"model: it has {count} trees, more than {TREES_MOST}",
            "train it for fewer rounds",
        )
    return tuple(integers("tree_sizes", text, count, 1, BYTES_MOST).tolist())


def _tree_values(number: int, block: bytes) -> dict[str, bytes]:
    where = f"tree {number}"
    head = b"Tree=%d\n" % number
    if not (block.startswith(head) and block.endswith(b"\n\n\n")):
        raise malformed(f"{where} does not begin and end where tree_sizes states")
    if block.count(b"\n") > LINES_MOST:
        raise malformed(f"{where} has more than {LINES_MOST} lines")
    values: dict[str, bytes] = {}
    for line in block[len(head) : -3].split(b"\n"):
        _add(values, where, line, TREE_KEYS, ())
    return values


def _parameters(data: bytes, past: int) -> dict[str, str]:
    """Return the parameters after the trees, as far as they are short."""
    start = data.find(b"\nparameters:\n", past)
    if start < 0:
        return {}
    end = data.find(b"\nend of parameters", start, start + PARAMETERS_BYTES_MOST)
    if end < 0:
        raise malformed("the parameters do not end, or are larger than 4 MiB")
    return {
        found[1].decode("ascii", "replace"): found[2].decode("utf-8", "replace")
        for found in _PARAMETER.finditer(data, start, end)
    }


def _pandas_categorical(data: bytes, past: int) -> bytes:
    """Return the value of the last line; ``null`` if there is none."""
    key = b"\npandas_categorical:"
    start = data.rfind(key, past)
    return b"null" if start < 0 else data[start + len(key) :].strip()
