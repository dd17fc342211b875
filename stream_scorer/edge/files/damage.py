"""What follows a damaged place of a device's log: a torn write, or frames that were complete.

A power cut damages the last frame only. So an intact frame further on proves another cause. It is
looked for at every byte, because a damaged length does not show where the next frame begins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.edge.files.cipher import TAG_BYTES
from stream_scorer.edge.files.frames import FRAME_BYTES_LEAST, FRAME_BYTES_MOST, LENGTH

FrameOpener = Callable[[bytes, int, bytes], bytes | None]
"""Decrypts a frame, given its number and the tag of the frame before; None: it is not intact."""
_ON_DISK_LEAST: Final = LENGTH.size + FRAME_BYTES_LEAST
_OPENED_BYTES_MOST: Final = 256 * 1024 * 1024
"""Bytes that are decrypted in a search; some seconds on a slow processor."""


@dataclass(frozen=True, slots=True)
class JudgedTail:
    """What was found in the bytes from a damaged frame on.

    Attributes:
        torn: Whether a power cut during the last write can have left them.
        last: The last intact frame in them, decrypted; None: none was found.
    """

    torn: bool
    last: bytes | None = None


def judged_tail(tail: bytes, number: int, opened: FrameOpener) -> JudgedTail:
    """Return what the bytes from a damaged frame up to the end of the file are.

    Args:
        tail: The bytes.
        number: The number of the damaged frame.
        opened: Decrypts a frame.
    """
    places = _places(tail)
    left = _OPENED_BYTES_MOST
    # Mostly few frames are damaged, so the frames right after them are tried first.
    for further in range(1, max(places, default=0) // _ON_DISK_LEAST + 1):
        for at in places:
            if at < further * _ON_DISK_LEAST:
                continue
            sealed = sealed_at(tail, at) or b""
            left -= len(sealed)
            if left < 0:
                return JudgedTail(torn=False)
            if opened(sealed, number + further, tail[at - TAG_BYTES : at]) is not None:
                return JudgedTail(torn=False, last=_last(tail, at, number + further, opened))
    return JudgedTail(_is_torn(tail))


def sealed_at(data: bytes, at: int) -> bytes | None:
    """Return the encrypted frame at a place; None if there is no complete one."""
    begin = at + LENGTH.size
    if begin > len(data):
        return None
    (length,) = LENGTH.unpack_from(data, at)
    if not FRAME_BYTES_LEAST <= length <= FRAME_BYTES_MOST or begin + length > len(data):
        return None
    return data[begin : begin + length]


def _places(tail: bytes) -> list[int]:
    """Return where a complete frame may begin, and what follows it may be a frame or the end."""
    count = len(tail) - LENGTH.size + 1
    if count <= _ON_DISK_LEAST:
        return []
    data = np.frombuffer(tail, np.uint8)
    lengths = np.zeros(count, np.uint32)
    for byte in range(LENGTH.size):
        lengths |= data[byte : byte + count].astype(np.uint32) << np.uint32(8 * byte)
    fits = (lengths >= FRAME_BYTES_LEAST) & (lengths <= FRAME_BYTES_MOST)
    places = np.flatnonzero(fits)
    places = places[places >= _ON_DISK_LEAST]
    ends = places + LENGTH.size + lengths[places].astype(np.int64)
    places, ends = places[ends <= len(tail)], ends[ends <= len(tail)]
    # Behind a frame, a power cut may have left zeros, or less than a length.
    follows = np.ones(len(tail) + 1, np.bool_)
    follows[:count] = fits | (lengths == 0)
    found: list[int] = places[follows[ends]].tolist()
    return found


def _last(tail: bytes, at: int, number: int, opened: FrameOpener) -> bytes | None:
    """Return the last of the intact frames that follow each other from a place on."""
    last, tag = None, tail[at - TAG_BYTES : at]
    while (sealed := sealed_at(tail, at)) is not None:
        plain = opened(sealed, number, tag)
        if plain is None:
            break
        last, tag = plain, sealed[-TAG_BYTES:]
        at, number = at + LENGTH.size + len(sealed), number + 1
    return last


def _is_torn(tail: bytes) -> bool:
    """Whether the bytes are the beginning of one frame, or only zeros."""
    if len(tail) < LENGTH.size or tail.count(0) == len(tail):
        return True
    (length,) = LENGTH.unpack_from(tail)
    fits = FRAME_BYTES_LEAST <= length <= FRAME_BYTES_MOST
    return fits and len(tail) <= LENGTH.size + length
