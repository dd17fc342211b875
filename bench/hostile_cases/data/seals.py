"""Checkpoint records where a MAC is required, written by an attacker without a key."""

from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import Place, cases, entry
from bench.hostile_cases.data.buckets import payload, records_of, restored, ring

_KEY, _OTHER = b"k" * 32, b"o" * 32


def _seal(secret: bytes = _KEY) -> Any:
    import hashlib  # noqa: PLC0415 only here

    found = entry("stream_scorer.state.checkpoints.record_mac", "RecordMac")
    return found({hashlib.sha256(secret).digest()[:8]: secret})


def _forged(change: Callable[[bytes, bytes], bytes]) -> Callable[[Place], str]:
    """Restore with a key from a good bucket whose records were changed after their MAC was made.

    ``change`` gets a record's key and its value without a MAC.
    """

    def run(place: Place) -> str:
        seal = _seal()
        records = [
            (key, change(key or b"", value or b"")) for key, value in records_of(payload(ring()))
        ]
        return restored(place, records, seal=seal)

    return run


def _sealed(key: bytes, value: bytes) -> bytes:
    return bytes(_seal().close(key, value))


def _flipped(key: bytes, value: bytes) -> bytes:
    made = bytearray(_sealed(key, value))
    made[-1] ^= 1
    return bytes(made)


def _file(text: bytes) -> Callable[[Place], str]:
    """Read a key file."""

    def run(place: Place) -> str:
        path = place.folder / "mac.key"
        path.write_bytes(text)
        path.chmod(0o600)
        entry("stream_scorer.state.checkpoints.record_mac", "read_seal")(path, required=True)
        return "read"

    return run


_STOPS: Final = r"StateError: checkpoint of t partition 0: .*MAC"
CASES: Final = cases(
    "seal", 5,
    ("a record that was sealed", "mac", r"restored \[\('c-1', 1\)\]", _forged(_sealed)),
    ("a record without a MAC", "mac", _STOPS, _forged(lambda _, value: value)),
    ("a MAC by another key", "mac", _STOPS,
     _forged(lambda key, value: bytes(_seal(_OTHER).close(key, value)))),
    ("another key under the id of ours", "mac", _STOPS,
     _forged(lambda key, value: _sealed(key, value)[:14] + b"\1" * 32 + value)),
    ("the MAC of another bucket", "mac", _STOPS,
     _forged(lambda _, value: _sealed(b"g/t/0/1/0", value))),
    ("a byte that was changed", "mac", _STOPS, _forged(_flipped)),
    ("a MAC of a later version", "mac", _STOPS,
     _forged(lambda key, value: b"SMAC\2\0" + _sealed(key, value)[6:])),
    ("a MAC that is cut off", "mac", _STOPS, _forged(lambda *_: b"SMAC\1\0x")),
    ("a key file of one good key", "mac-keys", "read", _file(b"ab" * 32)),
    ("a key of 8 bytes", "mac-keys", "SettingsError: ", _file(b"ab" * 8),
     "holds a line that is not"),
    ("a key file that is empty", "mac-keys", "SettingsError: ", _file(b"\n"), "holds no key"),
)  # fmt: skip
