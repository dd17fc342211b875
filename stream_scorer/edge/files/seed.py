"""What an operator provisions a device with: histories of customers, and rows of terminals.

    one line of JSON      what it is, and for which release
    bytes                 of a state: the payloads of buckets; of terminals: hash, time and state of
                          each row, column by column

A state is sealed to the device. Rows of terminals name no customer; the signed ``export.json`` of
the export has their SHA-256.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.labelling.contract import UNKNOWN
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.errors import EdgeError
from stream_scorer.security.canonical_json import parse

_FORMAT: Final = 1
_HEADER_BYTES_MOST: Final = 16 * 1024 * 1024
_AGAIN: Final = "export it again, and copy it completely"
UInt64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class SeededBucket:
    """The histories of some customers of one bucket.

    Attributes:
        partition: The input partition.
        bucket: Number of the bucket.
        offset: The partition's next input offset when it was stored.
        payload: The rings.
    """

    partition: int
    bucket: int
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StateSeed:
    """Histories of customers.

    Attributes:
        device: The device that they are for.
        exported_at: When they were exported, ms since the epoch.
        watermark: Newest event time of their partitions, ms.
        until: Other customers' features may miss a part of the history before this time, ms.
        rings: Lateness, horizon, cap and unit of the rings.
        fields: Names of the further fields that they keep.
        warm: uint64[n], ascending: hashes of the customers whose history is there.
        buckets: The histories.
    """

    device: str
    exported_at: int
    watermark: int
    until: int
    rings: tuple[int, int, int, str]
    fields: tuple[str, ...]
    warm: UInt64
    buckets: tuple[SeededBucket, ...]

    @staticmethod
    def purpose(device: str) -> str:
        """Return what a sealed state is, and for whom."""
        return f"state of {device}"

    def packed(self) -> bytes:
        """Return it as bytes."""
        header = {
            "format": _FORMAT, "device": self.device, "exported_at": self.exported_at,
            "watermark": self.watermark, "until": self.until, "rings": list(self.rings),
            "fields": list(self.fields),
            "warm": base64.b64encode(self.warm.astype("<u8").tobytes()).decode(),
            "buckets": [
                [each.partition, each.bucket, each.offset, len(each.payload)]
                for each in self.buckets
            ],
        }  # fmt: skip
        payloads = b"".join(each.payload for each in self.buckets)
        return json.dumps(header).encode() + b"\n" + payloads

    @classmethod
    def unpacked(cls, data: bytes) -> "StateSeed":
        """Read it.

        Raises:
            EdgeError: It is damaged, or of another format.
        """
        try:
            header, rest = _header(data)
            buckets, at = [], 0
            for partition, bucket, offset, length in header["buckets"]:
                if not 0 <= length <= len(rest) - at:
                    raise ValueError("its lengths do not fit its size")  # noqa: TRY301 one handler for all faults
                buckets.append(SeededBucket(partition, bucket, offset, rest[at : at + length]))
                at += length
            lateness, horizon, cap, unit = header["rings"]
            warm = np.frombuffer(base64.b64decode(header["warm"]), "<u8").astype(np.uint64)
            return cls(
                str(header["device"]), int(header["exported_at"]), int(header["watermark"]),
                int(header["until"]), (int(lateness), int(horizon), int(cap), str(unit)),
                tuple(map(str, header["fields"])), warm, tuple(buckets),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise EdgeError(f"the provisioned state is damaged: {error}", _AGAIN) from error


@dataclass(frozen=True, slots=True)
class TerminalRows:
    """The history of terminals up to a watermark.

    Attributes:
        watermark: Every row up to this event time is there, ms.
        edge: Rows up to this event time were left out, ms.
        terminal: uint64[n], hashes of the terminals' ids.
        time: int64[n], ms.
        state: uint8[n], ``GENUINE``, ``FRAUD`` or ``UNKNOWN`` of ``labelling.contract``.
    """

    watermark: int
    edge: int
    terminal: UInt64
    time: NDArray[np.int64]
    state: NDArray[np.uint8]

    @classmethod
    def none(cls) -> "TerminalRows":
        """Return no rows."""
        empty = np.empty(0, np.uint64)
        return cls(int(NEVER), int(NEVER), empty, empty.astype(np.int64), empty.astype(np.uint8))

    def packed(self) -> bytes:
        """Return them as bytes."""
        header = {
            "format": _FORMAT, "watermark": self.watermark, "edge": self.edge,
            "rows": len(self.time),
        }  # fmt: skip
        columns = (
            self.terminal.astype("<u8"), self.time.astype("<i8"), self.state.astype("u1")
        )  # fmt: skip
        parts = (column.tobytes() for column in columns)
        return json.dumps(header).encode() + b"\n" + b"".join(parts)

    @classmethod
    def unpacked(cls, data: bytes) -> "TerminalRows":
        """Read them.

        Raises:
            EdgeError: They are damaged, or of another format.
        """
        try:
            header, rest = _header(data)
            rows = int(header["rows"])
            if rows < 0 or len(rest) != 17 * rows:
                raise ValueError("its size is not that of its rows")  # noqa: TRY301 one handler for all faults
            found = cls(
                int(header["watermark"]),
                int(header["edge"]),
                np.frombuffer(rest, "<u8", rows).astype(np.uint64),
                np.frombuffer(rest, "<i8", rows, 8 * rows).astype(np.int64),
                np.frombuffer(rest, "u1", rows, 16 * rows).copy(),
            )
            if rows and int(found.state.max()) > UNKNOWN:
                raise ValueError("it has an unknown state")  # noqa: TRY301 see above
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise EdgeError(f"the rows of terminals are damaged: {error}", _AGAIN) from error
        return found

    def table(self) -> TerminalTable:
        """Return them as the table that the core reads; its watermark stays."""
        table = TerminalTable()
        table.evict(self.edge)
        table.add_hashed(self.terminal, self.time, self.state)
        table.watermark = self.watermark
        return table


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    end = data.find(b"\n", 0, _HEADER_BYTES_MOST)
    header = parse(data[: max(end, 0)])
    if header.get("format") != _FORMAT:
        raise ValueError(f"it is not of format {_FORMAT}")
    return header, data[end + 1 :]


def hashes_ascending(hashes: Sequence[int]) -> UInt64:
    """Return hashes as ``StateSeed.warm`` has them."""
    return np.unique(np.array(hashes, np.uint64))
