"""Checkpoint files of the version before: ``checkpoint-files.xz``.

Commit cc8b8a8's scorer work, ``fraud:1.0.0`` with rings that also serve ``features``, wrote them to
a file store. It decided simulated transactions with bad ones among them, in batches, as far as the
shorter of two partitions reached. Then it left both partitions as an orderly stop does. The rings
are those of a replay by the same commit, which read no checkpoint.

Unpacked it is a line of JSON, then the files' bytes.
"""

import json
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("checkpoint-files.xz")


class Ring(NamedTuple):
    """What is remembered of a customer, oldest event first.

    Attributes:
        partition: Input partition.
        customer: The id.
        newest: Newest accepted event time, ms.
        time: By event, ms.
        amount: By event, minor units.
        hash: By event, of the transaction id.
        fields: Further stored fields by name, each by event.
    """

    partition: int
    customer: str
    newest: int
    time: list[int]
    amount: list[int]
    hash: list[int]
    fields: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class RecordedFiles:
    """What was recorded.

    Attributes:
        commit: Of the version that wrote the files.
        features: Those that the rings serve in addition to the model's.
        committed: The group's offsets, by partition.
        watermarks: Newest accepted event time of each partition, ms.
        rings: Of all customers, by partition and bucket.
        files: By path below the store's URL.
    """

    commit: str
    features: list[dict[str, Any]]
    committed: dict[int, int]
    watermarks: list[int]
    rings: list[Ring]
    files: dict[str, bytes]


@cache
def recorded_files() -> RecordedFiles:
    """Read the recording."""
    line, _, data = lzma.decompress(_FILE.read_bytes()).partition(b"\n")
    head = json.loads(line)
    files, at = {}, 0
    for name, length in head["files"].items():
        files[name] = data[at : at + length]
        at += length
    return RecordedFiles(
        head["commit"],
        head["features"],
        {int(partition): offset for partition, offset in head["committed"].items()},
        head["watermarks"],
        [Ring(*row) for row in head["rings"]],
        files,
    )
