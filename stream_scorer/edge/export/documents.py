"""The files of an export that people and programs read: features, policy, README, signature."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import table_of
from stream_scorer.edge.export.order import ExportParts
from stream_scorer.edge.files.export_folder import statement
from stream_scorer.edge.native.image import ABI
from stream_scorer.security.keys import key_id

_RESULTS: Final = """\
## What comes out

The margin (the raw score), the score (the probability of fraud), the outcome by the policy, and
the outcome by the model's own thresholds. They have the same bits as in the stream. If the model
does not take a row, the row is `failed`: margin and score are NaN, and the outcome is the policy's
`on_model_error`.

"""


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """Return an array of numpy as plain data; NaN becomes null, which JSON has."""
    if isinstance(value, np.ndarray):
        numbers = value.astype(object)
        numbers[value != value] = None  # noqa: PLR0124 NaN
        return numbers.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")


def features_json(parts: ExportParts) -> bytes:
    """Return ``features.json``: declarations, compiled operations over histories, and the plan.

    Columns of operations have the order of ``core.kernels.observing``; a device that computes
    features itself has the same code.
    """
    engine = parts.features.engine
    return _json({
        "engine": parts.manifest.engine,
        "features": list(parts.manifest.features),
        "identities": list(parts.features.identities),
        "retention": {
            "lateness_ms": engine.retention.lateness_ms,
            "horizon_ms": engine.retention.horizon_ms,
            "cap": engine.retention.cap,
        },
        "fields": list(engine.fields),
        "program": parts.features.direct._asdict(),
        "plan": table_of(parts.plan),
    })  # fmt: skip


def policy_json(parts: ExportParts) -> bytes:
    """Return ``policy.json``: what the tables have of the policy, in words."""
    limits = [{"review": review, "block": block} for review, block in parts.policy.limits.tolist()]
    return _json({
        "outcomes": [outcome.name for outcome in Outcome],
        "on_model_error": Outcome(parts.policy.on_model_error).name,
        "segments": limits[:-2],
        "default": limits[-2],
        "model": limits[-1],
        "fields": [{"name": f.name, "values": list(f.values)} for f in parts.policy.fields],
        "policy": parts.plan.policy,
    })  # fmt: skip


def export_json(parts: ExportParts, target: str, files: Mapping[str, str]) -> bytes:
    """Return ``export.json``: which model this is, and the sha256 of each other file."""
    return _json({
        "format": 1,
        "model": parts.manifest.label,
        "content_hash": parts.manifest.content_hash,
        "engine": parts.manifest.engine,
        "abi": ABI,
        "target": target,
        "licence": parts.manifest.licence,
        "files": dict(files),
    })  # fmt: skip


def signature_json(export: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return ``signature.json``: Ed25519 over a fixed line and the bytes of ``export.json``."""
    return _json({
        "algorithm": "Ed25519",
        "key_id": key_id(key.public_key()),
        "signature": base64.b64encode(key.sign(statement(export))).decode(),
    })  # fmt: skip


def readme(parts: ExportParts, title: str, use: str, files: Iterable[str], *, equal: bool) -> bytes:
    """Return ``README.md``.

    Args:
        parts: The exported model.
        title: What the folder is.
        use: How it is used.
        files: Names of its files.
        equal: Whether it has a policy, and results with the stream's bits.
    """
    names = parts.features.names
    rows = "\n".join(f"| {number} | `{name}` |" for number, name in enumerate(names))
    fields = ", ".join(f"`{field.name}`" for field in parts.policy.fields) or "none"
    licence = parts.manifest.licence
    stated = f"The model's licence: {licence}." if licence else "The model states no licence."
    policy = f"""\
The policy has {len(parts.policy.limits) - 2} segments. Its fields, in this order: {fields}.
`policy.json` has the thresholds. If there are segments, an event also has its amount, in minor
units such as cents.

{_RESULTS}"""
    return f"""# {parts.manifest.label}: {title}

Made by `stream-scorer export`. {use}

## What goes in

A row of {len(names)} float64 numbers, in this order. NaN is a missing value.

| column | feature |
|---|---|
{rows}

`features.json` has their declarations. This folder does not compute them.

{policy if equal else ""}## Files

{", ".join(f"`{name}`" for name in files)}. `export.json` has the sha256 of each file, and the
content hash of the model. The code is under the Apache License 2.0, see `LICENSE`. {stated}
""".encode()
