"""What the largest files take: memory and time, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.models.importing.catboost.document import BYTES_MOST
from tests.support.imports.catboost_hostile import encoded, other, split, symmetric

MEMORY_MOST = 2048
"""MiB, with the file, the interpreter and its libraries; the largest that was measured is 1,734."""

SECONDS_MOST = 60
"""Of computing; the longest that was measured is 11."""

READ = """
import resource, sys
from stream_scorer.errors import ModelError
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportOptions
try:
    read = read_catboost(open(sys.argv[1], "rb").read(), ImportOptions())
    found = f"{read.parameters['trees']} trees"
except ModelError as error:
    found = str(error)
used = resource.getrusage(resource.RUSAGE_SELF)
# The kernel's ru_maxrss counts what the process was before it was Python: a copy of its parent.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, used.ru_utime + used.ru_stime, found, sep="\\n")
"""


def with_trees(kind: str, tree: bytes, count: int) -> bytes:
    """Return a file of many trees that is filled up with blanks; its text has wide characters."""
    document = symmetric() if kind == "oblivious_trees" else other()
    document[kind] = []
    document["features_info"]["float_features"][0]["feature_id"] = "\U0001f600"
    before, after = json.dumps(document, ensure_ascii=False).encode().split(f'"{kind}": ['.encode())
    data = before + f'"{kind}": ['.encode() + b",".join([tree] * count) + after
    return data + b" " * (BYTES_MOST - len(data))


def symmetric_tree() -> bytes:
    values = [-0.1234567890123456 * (1 + leaf) for leaf in range(64)]
    levels = [split(0, 0.5, 0)] * 6
    return encoded({"leaf_values": values, "leaf_weights": [1.5] * 64, "splits": levels})


def other_tree(depth: int) -> bytes:
    if depth == 0:
        return b'{"value":-0.1234567890123456,"weight":123}'
    below = other_tree(depth - 1)
    return b'{"split":%b,"left":%b,"right":%b}' % (encoded(split(0, 0.5, 0)), below, below)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "tree", "count", "expected"),
    [
        ("oblivious_trees", symmetric_tree(), 32_000, "32000 trees"),
        ("trees", other_tree(6), 5_400, "5400 trees"),
        ("oblivious_trees", b'{"a":1.5,"b":2.5,"c":{}}', 1_048_000, "has 1048000 trees"),
        ("oblivious_trees", b'{"leaf_values":[%b]}' % b",".join([b"1.5"] * 8_388_000), 1,
         "tree 0 has no splits"),
    ],
    ids=["symmetric trees", "other trees", "many objects", "many numbers"],
)  # fmt: skip
def test_the_largest_files_are_read_within_limits(
    kind: str, tree: bytes, count: int, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(with_trees(kind, tree, count))
    found = subprocess.run(  # noqa: S603 our own text
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    memory, seconds, result = found.stdout.splitlines()
    assert expected in result
    assert int(memory) <= MEMORY_MOST
    assert float(seconds) <= SECONDS_MOST
