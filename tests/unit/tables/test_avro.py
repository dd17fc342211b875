"""A damaged Avro container is reported as damaged, with each codec, and not as an outage."""

import io
import random
from pathlib import Path

import fastavro
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.explaining.sample import sample_of_file
from stream_scorer.tables.avro import avro_definition, avro_names, avro_pieces, plain_records
from stream_scorer.tables.pieces import DamagedError

SCHEMA = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}]}
CODECS = ("null", "deflate", "bzip2", "xz")


def container(codec: str) -> bytes:
    file = io.BytesIO()
    records = [{"id": f"t{number}" * 20} for number in range(50)]
    fastavro.writer(file, fastavro.parse_schema(SCHEMA), records, codec=codec)
    return file.getvalue()


def mutated(data: bytes, seed: int) -> bytes:
    """Return a file with another byte in its block, or cut off there."""
    chance = random.Random(seed)  # noqa: S311 not for secrets
    block = data.index(data[-16:]) + 16
    at = chance.randrange(block, len(data))
    if chance.random() < 0.2:
        return data[:at]
    return data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :]


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_block_is_damage_and_no_outage(codec: str, tmp_path: Path) -> None:
    data, damaged = container(codec), 0
    path = tmp_path / "d.avro"
    for seed in range(150):
        changed = mutated(data, seed)
        try:
            list(avro_pieces(io.BytesIO(changed), ["id"], 0, 0))
            definition = avro_definition(io.BytesIO(changed))
            list(plain_records(io.BytesIO(changed), definition))
        except DamagedError:
            damaged += 1
        path.write_bytes(changed)
        try:
            sample_of_file(path, 10)
        except SettingsError as error:
            assert "cannot be read: " in str(error)  # noqa: PT017 some are not damaged
    assert damaged > 20
    assert avro_names(io.BytesIO(data)) == ["id"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        sample_of_file(tmp_path / "none.avro", 1)
