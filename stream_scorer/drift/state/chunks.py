"""A snapshot as records of the topic ``drift-state``: chunks, each with its place in the whole.

All chunks of a snapshot are published in one transaction. The topic is compacted: a chunk replaces
the one of the same number. A shorter snapshot removes the numbers that it does not have.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.drift.state.snapshot import SNAPSHOT_MOST
from stream_scorer.security.canonical_json import canonical, parse

CHUNK_BYTES: Final = 512 * 1024
CHUNKS_MOST: Final = SNAPSHOT_MOST // CHUNK_BYTES + 1
_LENGTH: Final = 4
_HEADER_MOST: Final = 4_096
_KEYS: Final = frozenset(
    ("sequence", "chunk", "chunks", "sha256", "summaries_offset", "commands_offset")
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of the monitor.

    Attributes:
        sequence: Its number, from 1.
        chunks: Number of its chunks.
        summaries_offset: Next offset of the summaries topic.
        commands_offset: Next offset of the commands topic.
        data: See ``drift.state.snapshot``.
    """

    sequence: int
    chunks: int
    summaries_offset: int
    commands_offset: int
    data: bytes


def key_of(chunk: int) -> bytes:
    """Return the key of a chunk.

    >>> key_of(3)
    b'chunk-0003'
    """
    return f"chunk-{chunk:04}".encode()


def chunks_of(
    data: bytes, sequence: int, summaries_offset: int, commands_offset: int
) -> list[bytes]:
    """Return the values of a snapshot's records, in the order of their numbers.

    Args:
        data: The snapshot.
        sequence: Its number.
        summaries_offset: Next offset of the summaries topic.
        commands_offset: Next offset of the commands topic.
    """
    parts = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)] or [b""]
    digest = hashlib.sha256(data).hexdigest()
    values = []
    for number, part in enumerate(parts):
        header = canonical(
            {
                "sequence": sequence, "chunk": number, "chunks": len(parts), "sha256": digest,
                "summaries_offset": summaries_offset, "commands_offset": commands_offset,
            }
        )  # fmt: skip
        values.append(len(header).to_bytes(_LENGTH, "little") + header + part)
    return values


def joined(values: Mapping[bytes, bytes]) -> Snapshot | None:
    """Return the snapshot of a topic's newest records; None if there is none.

    Args:
        values: The newest value by key.

    Raises:
        ValueError: A record is not a chunk, or the chunks are not of one complete snapshot.
    """
    read = {key: _read(key, value) for key, value in values.items()}
    if not read:
        return None
    headers = [header for header, _ in read.values()]
    newest = max(headers, key=lambda each: int(each["sequence"]))
    same = [key for key, (header, _) in read.items() if _of_one(header, newest)]
    wanted = [key_of(number) for number in range(newest["chunks"])]
    if sorted(same) != wanted or len(read) != len(wanted):
        raise ValueError("its chunks are not of one complete snapshot")
    data = b"".join(read[key][1] for key in wanted)
    if hashlib.sha256(data).hexdigest() != newest["sha256"]:
        raise ValueError("its chunks do not have the digest that they name")
    return Snapshot(
        newest["sequence"], newest["chunks"], newest["summaries_offset"],
        newest["commands_offset"], data,
    )  # fmt: skip


def leftover(before: int, now: int) -> Iterable[bytes]:
    """Return the keys of chunks that a shorter snapshot does not have.

    Args:
        before: Number of chunks of the snapshot before.
        now: Number of chunks of this one.
    """
    return [key_of(number) for number in range(now, before)]


def _read(key: bytes, value: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(value[:_LENGTH], "little")
    if not 0 < length <= _HEADER_MOST:
        raise ValueError("a record is not a chunk of a snapshot")
    header = parse(value[_LENGTH : _LENGTH + length])
    numbers = [header.get(name) for name in sorted(_KEYS - {"sha256"})]
    if set(header) != _KEYS or not all(type(each) is int and each >= 0 for each in numbers):
        raise ValueError("a chunk has another header")
    if header["chunks"] > CHUNKS_MOST or key != key_of(header["chunk"]):
        raise ValueError("a chunk has another number than its key")
    return header, value[_LENGTH + length :]


def _of_one(header: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(header[name] == other[name] for name in _KEYS - {"chunk"})
