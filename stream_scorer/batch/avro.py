"""Decisions as one Avro container file that is written block by block."""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import fastavro
import numpy as np

from stream_scorer.batch.output import Decided, Form
from stream_scorer.codec.writing.encode import Choice, DecisionEncoder
from stream_scorer.registry.sources import reader_schema

_SYNC_BYTES = 16
_BLOCK_ROWS = 4_000
_LEVEL = 1


class AvroDecisions:
    """Decisions as an Avro container file of the decision schema.

    Args:
        path: The file; it need not exist.
        form: What rows share.
    """

    def __init__(self, path: Path, form: Form) -> None:
        schema = json.loads(reader_schema("decision.v2"))
        schema["fields"] += [
            {"name": name, "type": "double", "doc": "A feature of the model."}
            for name in form.features
        ]
        text = json.dumps(schema)
        self._form = form
        self._schema = schema
        # Not random, so that the same job writes the same bytes.
        self._sync = hashlib.sha256(
            json.dumps([text, list(form.names), form.decided_at]).encode()
        ).digest()[:_SYNC_BYTES]
        self._encoder = DecisionEncoder(None, text, "")
        path.touch()
        self._file = path.open("r+b")
        self._length = 0

    def resume(self, parts: Sequence[int]) -> None:
        """Keep the finished parts and delete everything after them; see ``PartWriter.resume``."""
        self._length = length = sum(parts)
        if self._file.seek(0, io.SEEK_END) < length:
            raise ValueError(f"it is shorter than its {len(parts)} parts")
        self._file.truncate(length)
        self._file.seek(length)
        if not length:
            header = io.BytesIO()
            fastavro.writer(header, self._schema, [], codec="deflate", sync_marker=self._sync)
            self._file.write(header.getvalue())

    def write(self, decided: Decided) -> None:
        """Add decisions as blocks."""
        decisions = decided.decisions
        if not len(decisions):
            return
        features = {
            name: np.ascontiguousarray(decisions.features[:, at])
            for at, name in enumerate(self._form.features)
        }
        encoded = self._encoder.encode(
            decisions, self._form.decided_at,
            {"source_topic": Choice(decided.file, self._form.names), **features},
        )  # fmt: skip
        for first in range(0, len(encoded), _BLOCK_ROWS):
            last = min(first + _BLOCK_ROWS, len(encoded))
            bounds = encoded.offsets[[first, last]]
            packed = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
            data = packed.compress(encoded.data[bounds[0] : bounds[1]].tobytes()) + packed.flush()
            self._file.write(_long(last - first) + _long(len(data)) + data + self._sync)

    def end(self) -> int:
        """End the part, sync it to disk and return its length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        start, self._length = self._length, self._file.tell()
        return self._length - start

    def finish(self, told: Callable[[int, int], None]) -> None:
        """Do nothing: the file is complete after every block."""

    def close(self) -> None:
        """Close the file; the unfinished part is lost."""
        with suppress(OSError):  # a part that the disk does not take is in no ledger
            self._file.close()


def _long(number: int) -> bytes:
    """Return a non-negative number as Avro's long."""
    number <<= 1
    out = bytearray()
    while number > 127:  # noqa: PLR2004 seven bits a byte
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
