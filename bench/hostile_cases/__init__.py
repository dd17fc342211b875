"""The hostile cases, one module per door."""

import importlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.hostile_cases.case import Case, Place

DOORS: Final = (
    "schemas",
    "records",
    "topics",
    "buckets",
    "seals",
    "terminals",
    "probes",
    "bundles",
    "plans",
    "lookups",
    "membership",
    "quarantine",
    "secrets",
    "rejections",
    "replays",
    "registry",
    "caches",
    "liveness",
    "stack",
    "production",
)
"""Modules of this package that hold cases, in the order in which they are run."""


def all_cases() -> list[Case]:
    """Return all cases."""
    found: list[Case] = []
    for door in DOORS:
        found += importlib.import_module(f"bench.hostile_cases.{door}").CASES
    return found


def warm(root: Path) -> None:
    """Import and compile what most cases use, before processes are forked.

    Args:
        root: The root of the tree under test.
    """
    from bench.hostile_cases import buckets, decoding  # noqa: PLC0415 they import the product

    decoding.decoded(decoding.framed(decoding.body()), decoding.schema_with())
    with TemporaryDirectory(prefix="hostile-") as folder:
        buckets.good(Place(Path(folder), root))
