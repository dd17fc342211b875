"""The commands of ``drift``: each is recorded in the audit log, then written to its topic."""

import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.drift.operator.command import authority, made
from stream_scorer.errors import RolloutError, SettingsError, StreamScorerError
from stream_scorer.kafka.loop.control_topic import append
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.security.audit_access import open_audit
from stream_scorer.settings import Settings


def give(
    settings: Settings, kind: str, event_id: str, until: int | None, reason: str,
    key: Ed25519PrivateKey | None,
) -> dict[str, Any]:  # fmt: skip
    """Write a command; return the document that ``--json`` prints.

    The monitor folds it with the next summary.

    Args:
        settings: The cluster, the operators' keys and the audit log.
        kind: ``ack``, ``accept`` or ``snooze``.
        event_id: The event; empty for all, with ``snooze`` only.
        until: When a snooze ends, ms since the epoch.
        reason: Why, for people.
        key: Signs it; None: it is not signed.

    Raises:
        SettingsError: The command makes no sense, or a key cannot be read.
        RolloutError: The monitor would refuse it.
        UnavailableError: The broker or the registry does not answer.
    """
    try:
        record = made(kind, event_id, until, time.time_ns() // 1_000_000, reason, key)
    except ValueError as error:
        raise SettingsError(f"drift {kind}: {error}", "correct the command") from error
    try:
        authority(settings.rollout).refuse(record)
    except ValueError as error:
        raise RolloutError(
            f"drift {kind}: the command {error}",
            "sign it with the key of an operator: --key FILE, and see rollout.operator_keys",
        ) from error
    topic = settings.kafka.topics.drift_commands
    registry = open_registry(settings.registry)
    schema = reader_schema("drift-command.v1", settings.registry.directory)
    codec = RecordCodec(registry.id_for(f"{topic}-value", schema), schema)
    actor = f"key:{record['key_id']}" if record["key_id"] else None
    audit = open_audit(settings.audit)
    details = {"command": record["command_id"], "until": until, "reason": reason}
    # The audit log comes first: it has every command that is written.
    audit.record(f"drift.{kind}", event_id or "all", details, actor)
    try:
        offset = append(settings.kafka, topic, codec.encode(record))
    except StreamScorerError as error:
        audit.record("drift.refused", event_id or "all", {"kind": kind, "why": error.what}, actor)
        raise
    return {
        "command": record["command_id"], "kind": kind, "event": event_id, "until": until,
        "key": record["key_id"], "offset": offset, "topic": topic,
    }  # fmt: skip
