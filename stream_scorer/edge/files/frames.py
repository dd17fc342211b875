"""What the log of a device is made of: its identity and its frames."""

import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from stream_scorer.edge.files.cipher import OVERHEAD

MAGIC: Final = b"SSLOG1"
LENGTH: Final = struct.Struct("<I")
HEAD: Final = struct.Struct("<BQ")
FRAME_BYTES_LEAST: Final = OVERHEAD + HEAD.size
"""Minimum bytes of an encrypted frame, without its length."""
FRAME_BYTES_MOST: Final = 4 * 1024 * 1024
"""Maximum bytes of an encrypted frame, without its length."""


class FrameKind(IntEnum):
    """What a frame holds."""

    META = 1  # beginning of a snapshot
    BUCKETS = 2  # rings of a snapshot
    RECENT = 3  # recent answers of a snapshot
    READY = 4  # end of a snapshot
    EVENTS = 5  # decided transactions


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """A frame.

    Attributes:
        kind: What it holds.
        sequence: Number of the last row up to the frame, included.
        body: Its content.
    """

    kind: FrameKind
    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Whose log it is, and under which release it was begun.

    Attributes:
        device: The device.
        content_hash: SHA-256 of the bundle's content, 32 bytes.
        plan_sha256: SHA-256 of the plan, 32 bytes.
    """

    device: str
    content_hash: bytes
    plan_sha256: bytes

    def header(self, key_id: bytes) -> bytes:
        """Return a header for a new file."""
        name = self.device.encode()
        told = key_id + self.content_hash + self.plan_sha256 + os.urandom(16)
        return MAGIC + bytes([len(name)]) + name + told
