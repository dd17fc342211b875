"""What a snapshot says to people survives writing and reading, bit for bit."""

import hashlib
import zlib
from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.drift.state.snapshot import (
    SNAPSHOT_MOST,
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
)
from tests.support.drift.documents import alarm, document


def test_document_survives_a_snapshot() -> None:
    written = document()
    read = MonitorDocument.read(pack(written.sections()))
    assert read.meta == written.meta
    assert read.episodes == written.episodes
    assert read.versions[0].keys == written.versions[0].keys
    for name in ("state", "learning_until", "value", "log_evidence", "history", "history_start"):
        expected = getattr(written.versions[0], name)
        np.testing.assert_array_equal(getattr(read.versions[0], name), expected)
    assert pack(read.sections()) == pack(written.sections())


def test_numbers_that_json_has_not_are_kept() -> None:
    written = document()
    episode = replace(written.episodes[0], opened=alarm(effect=float("nan"), log_e=float("inf")))
    read = MonitorDocument.read(pack(replace(written, episodes=(episode,)).sections()))
    assert np.isnan(read.episodes[0].opened.effect)
    assert np.isnan(read.faults[0].fault.evidence)


@pytest.mark.parametrize("section", ["meta", "versions", "episodes", "faults", "state/0"])
def test_missing_section_is_refused(section: str) -> None:
    sections = document().sections()
    del sections[section]
    with pytest.raises(ValueError, match="missing or invalid"):
        MonitorDocument.of(sections)


@pytest.mark.parametrize(
    ("section", "old", "new", "name"),
    [
        ("meta", b'"gaps":', b'"gaps":"abc","x":', "MonitorProgress.gaps"),
        ("meta", b'"late":', b'"late":' + b"9" * 30, "MonitorProgress.late"),
        ("faults", b'"open":true', b'"open":1', "QualityFault.open"),
        ("episodes", b'"stream":"', b'"stream":1,"x":"', "Alarm.stream"),
        ("episodes", b'"window_end":', b'"window_end":"zz","x":', "Alarm.window_end"),
        ("faults", b'"segment":', b'"segment":[],"x":', "QualityFault.segment"),
    ],
)
def test_a_value_of_another_type_is_refused(
    section: str, old: bytes, new: bytes, name: str
) -> None:
    sections = document().sections()
    assert old in sections[section]
    sections[section] = sections[section].replace(old, new, 1)
    with pytest.raises(ValueError, match=f"{name} cannot be|invalid: .*'x'"):
        MonitorDocument.of(sections)


def test_section_of_another_shape_is_refused() -> None:
    sections = document().sections()
    arrays = unpack_arrays(sections["state/0"])
    sections["state/0"] = pack_arrays(arrays | {"mean": np.zeros(3)})
    with pytest.raises(ValueError, match="another shape of mean"):
        MonitorDocument.of(sections)


@pytest.mark.parametrize("byte", [0, 8, 41, 60, -1])
def test_changed_byte_of_a_snapshot_is_refused(byte: int) -> None:
    data = bytearray(pack(document().sections()))
    data[byte] ^= 1
    with pytest.raises(ValueError, match=r"snapshot"):
        unpack(bytes(data))


def test_cut_snapshot_is_refused() -> None:
    data = pack(document().sections())
    for length in (0, 5, 40, 44, len(data) - 1):
        with pytest.raises(ValueError, match="snapshot"):
            unpack(data[:length])


def _sealed(packed: bytes) -> bytes:
    return b"SSDRIFT2" + hashlib.sha256(packed).digest() + packed


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (zlib.compress(bytes(SNAPSHOT_MOST + 1)), "expands to more than"),
        (zlib.compress(b"1234")[:-1], "do not end where it ends"),
        (zlib.compress(b"1234") + b"5", "do not end where it ends"),
        (b"1234", "compressed bytes are invalid"),
    ],
)
def test_hostile_compression_is_refused(packed: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(_sealed(packed))


@pytest.mark.parametrize("shape", [[2**40], [-1], [True], [1, 1, 1, 1], "2", [2**30, 2**30, 2**30]])
def test_hostile_shape_of_an_array_is_refused(shape: object) -> None:
    index = b'{"arrays":[["a","<f8",%s]]}' % str(shape).replace("'", '"').lower().encode()
    with pytest.raises(ValueError, match="array"):
        unpack_arrays(len(index).to_bytes(4, "little") + index + bytes(8))


def test_unknown_type_of_an_array_is_refused() -> None:
    index = b'{"arrays":[["a","|O8",[1]]]}'
    with pytest.raises(ValueError, match="invalid name, type or shape"):
        unpack_arrays(len(index).to_bytes(4, "little") + index + bytes(8))
