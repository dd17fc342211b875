"""The hostile cases, one module per door: untrusted ``data``, and doors of the ``host``."""

import importlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.hostile_cases.case import Case, NotThereError, Place, entry

DOORS: Final = (
    "data.schemas",
    "data.records",
    "data.large",
    "host.ids",
    "data.topics",
    "data.evidence",
    "data.batches",
    "data.buckets",
    "data.seals",
    "host.terminals",
    "host.probes",
    "data.bundles",
    "data.plans",
    "data.grants",
    "host.lookups",
    "host.membership",
    "host.quarantine",
    "host.secrets",
    "data.rejections",
    "data.replays",
    "data.headers",
    "host.registry",
    "host.caches",
    "host.liveness",
    "host.stack",
    "host.production",
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
    from bench.hostile_cases.data import buckets, decoding  # noqa: PLC0415 they import the product

    with suppress(NotThereError):
        entry("stream_scorer.kafka.client.kernels", "compile_all")()
    decoding.decoded(decoding.framed(decoding.body()), decoding.schema_with())
    with TemporaryDirectory(prefix="hostile-") as folder:
        buckets.good(Place(Path(folder), root))
