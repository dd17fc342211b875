"""A block of an Avro container that inflates over a limit is refused, with little memory."""

import bz2
import io
import lzma
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import fastavro
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.explaining.sample import sample_of_file
from stream_scorer.tables import avro_blocks
from stream_scorer.tables.avro import avro_definition, avro_pieces, plain_records
from stream_scorer.tables.avro_blocks import BLOCK_MOST
from stream_scorer.tables.pieces import DamagedError

SCHEMA = fastavro.parse_schema(
    {"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}]}
)


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "deflate": _deflate, "bzip2": bz2.compress, "xz": lzma.compress,
}  # fmt: skip


def _long(number: int) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema("long"), number)
    return stream.getvalue()


def _container(codec: str, block: bytes, records: int = 1) -> bytes:
    """Return a container file with one block of records."""
    stream = io.BytesIO()
    fastavro.writer(stream, SCHEMA, [], codec=codec)
    head = stream.getvalue()
    packed = CODECS[codec](block)
    return head + _long(records) + _long(len(packed)) + packed + head[-16:]


def _rows(data: bytes) -> list[str]:
    definition = avro_definition(io.BytesIO(data))
    records = [record["id"] for record in plain_records(io.BytesIO(data), definition)]
    (piece,) = avro_pieces(io.BytesIO(data), ["id"], 0, 0)
    assert list(piece.columns["id"]) == records
    return records


@pytest.mark.parametrize("codec", CODECS)
def test_a_block_of_the_limit_is_read_and_a_larger_one_refused(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x" * 5_000
    block = _long(len(text)) + text.encode()
    data = _container(codec, block)
    monkeypatch.setattr(avro_blocks, "BLOCK_MOST", len(block))
    assert _rows(data) == [text]
    monkeypatch.setattr(avro_blocks, "BLOCK_MOST", len(block) - 1)
    with pytest.raises(DamagedError, match="a block inflates to more than 5,001 bytes"):
        _rows(data)
    with pytest.raises(DamagedError, match="a block inflates to more than 5,001 bytes"):
        list(avro_pieces(io.BytesIO(data), ["id"], 0, 0))


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_takes_little_memory(codec: str, tmp_path: Path) -> None:
    size = 4 * BLOCK_MOST
    path = tmp_path / "bomb.avro"
    path.write_bytes(_container(codec, _long(size) + b"x" * size))
    tracemalloc.start()
    with pytest.raises(SettingsError, match="cannot be read: DamagedError"):
        sample_of_file(path, 1)
    with path.open("rb") as stream, pytest.raises(DamagedError, match="inflates to more than"):
        list(avro_pieces(stream, ["id"], 0, 0))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3 * BLOCK_MOST


@pytest.mark.parametrize("codec", CODECS)
def test_blocks_of_each_codec_are_read_as_by_fastavro(codec: str) -> None:
    stream = io.BytesIO()
    ids = [f"t{number}" for number in range(3_000)]
    records = [{"id": text} for text in ids]
    fastavro.writer(stream, SCHEMA, records, codec=codec, sync_interval=1_000)
    assert _rows(stream.getvalue()) == ids


@pytest.mark.parametrize("size", [-1, 2**40, 2**62])
def test_a_block_with_an_invented_size_is_damage(size: int) -> None:
    stream = io.BytesIO()
    fastavro.writer(stream, SCHEMA, [])
    data = stream.getvalue() + _long(1) + _long(size) + b"x" * 100
    with pytest.raises(DamagedError, match="a block has"):
        list(avro_pieces(io.BytesIO(data), ["id"], 0, 0))


def test_a_file_cut_off_anywhere_is_damage_and_never_shorter() -> None:
    stream = io.BytesIO()
    fastavro.writer(stream, SCHEMA, [{"id": "a" * 40}], codec="deflate")
    data = stream.getvalue()
    start = data.index(data[-16:]) + 16
    for end in range(start + 1, len(data)):
        with pytest.raises(DamagedError):
            list(avro_pieces(io.BytesIO(data[:end]), ["id"], 0, 0))
    assert list(avro_pieces(io.BytesIO(data[:start]), ["id"], 0, 0)) == []
