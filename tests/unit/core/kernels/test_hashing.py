"""The keyed hash equals CPython's, and tables stay fast with ids made to collide."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.hashing import keyed_hash, place_of, random_places
from tests.support.core.colliding import alike

LENGTHS = 40


def _secret(seed: int) -> bytes:
    """Return CPython's hash secret of a PYTHONHASHSEED (bootstrap_hash.c: lcg_urandom)."""
    secret = bytearray()
    x = seed
    for _ in range(16):
        x = (x * 214013 + 2531011) & 0xFFFFFFFF
        secret.append((x >> 16) & 0xFF)
    return bytes(secret) if seed else bytes(16)


@pytest.mark.parametrize("seed", [0, 1, 4_000_000_000])
def test_keyed_hash_is_siphash_1_3(seed: int) -> None:
    assert sys.hash_info.algorithm == "siphash13"
    program = f"for n in range(1, {LENGTHS}): print(hash(bytes(range(7, 7 + n))) % 2**64)"
    done = subprocess.run(  # noqa: S603 Python itself
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    data = np.arange(7, 7 + LENGTHS, dtype=np.uint8)
    key = np.frombuffer(_secret(seed), np.uint64)
    found = [int(keyed_hash(data, 0, n, key)) for n in range(1, LENGTHS)]
    assert found == [int(line) for line in done.stdout.split()]


def test_bytes_around_a_string_have_no_effect() -> None:
    data = np.arange(200, dtype=np.uint8)
    again = np.concatenate([np.full(3, 9, np.uint8), data[20:33], np.full(7, 200, np.uint8)])
    key = np.array([3, 4], np.uint64)
    assert keyed_hash(data, 20, 33, key) == keyed_hash(again, 3, 16, key)


def test_ids_made_to_collide_have_one_public_hash() -> None:
    ids = alike(4_096)
    assert len(set(ids)) == len(ids)
    assert len(np.unique(hashes_of(pa.array(ids)))) == 1


def test_every_number_has_a_place_in_the_table() -> None:
    numbers = np.random.default_rng(5).integers(0, 2**64, 5_000, np.uint64)
    for size in (2, 64, 8_192):
        places = random_places(size)
        found = np.array([place_of(n, places) for n in numbers])
        assert found.max() < size
        assert len(np.unique(found)) > min(size, len(numbers)) * 0.3
