"""The documents of ``rollout status`` and ``rollout history``, as plain data."""

from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from typing import Any

from stream_scorer.codec.records.record import RecordError
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.calendar import shown_time
from stream_scorer.errors import ModelError, SchemaError, SettingsError, UnavailableError
from stream_scorer.kafka.loop.control_topic import KeptTopic
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.bundles.loader import check_version
from stream_scorer.models.bundles.trust import GrantedBundle, trust_of
from stream_scorer.models.bundles.verify_files import read_seal, verified_files
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.rollout.log.activation_log import ACTIVE
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import (
    Answer,
    Promote,
    Propose,
    Step,
    Switch,
    VerdictGiven,
)
from stream_scorer.rollout.plan.fold_commands import FoldedRecord
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Strategy
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.rollout.plan.strict_parsing import Body, StrictModel
from stream_scorer.settings import Settings

_REFUSED_TEXT = 200
"""Maximum characters of each text of a refused record in the history."""


def status(settings: Settings, log: ControlLog) -> dict[str, Any]:
    """Return the state of the rollout, and the active revision of each partition.

    Args:
        settings: The cluster and the registry.
        log: Read to its end.

    Raises:
        RolloutError: The beginning of the activations was deleted.
        SettingsError: A topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    topics = settings.kafka.topics
    of_input = partitions(admin(settings.kafka), settings.kafka, [topics.transactions])
    found = by_partition(
        _activations(settings), of_input[topics.transactions], log.log.state.revision
    )
    _judge_restarts(found, settings, log.log.state.trained)
    return {
        **progress_document(log.log.state),
        "log": {"records": log.log.records, "sequence": log.log.state.sequence},
        "partitions": found,
    }


def _judge_restarts(
    partitions: Iterable[dict[str, Any]], settings: Settings, granted: Mapping[str, GrantedBundle]
) -> None:
    """Add to each partition why a restarted scorer could not load its versions."""
    reasons: dict[str, str] = {}
    for row in partitions:
        for label in row["versions"].values():
            if label not in reasons:
                reasons[label] = _why_not_loadable(settings, label, granted)
        row["not_loadable"] = {
            label: reasons[label]
            for label in sorted(set(row["versions"].values()))
            if reasons[label]
        }


def _why_not_loadable(settings: Settings, label: str, granted: Mapping[str, GrantedBundle]) -> str:
    """Return why the store's bundle would be refused at a start; empty if it would not be.

    Versions, files and signature are verified as at a start; the model itself is not loaded.
    """
    try:
        folder = find(open_store(settings.models), label)
        contents = read_seal(folder, trust_of(settings.models).with_granted(granted))
        check_version(contents.manifest)
        for _ in verified_files(folder, contents):
            pass
    except (ModelError, SettingsError, UnavailableError) as error:
        return str(error)
    return ""


def history(settings: Settings) -> list[dict[str, Any]]:
    """Read the log to its end, and return every record, oldest first.

    A :class:`ControlLog` keeps only the newest of the refused records.

    Raises:
        StreamScorerError: As :class:`ControlLog` and its ``refresh``.
    """
    found: list[dict[str, Any]] = []
    log = ControlLog(settings, on_record=lambda entry: found.append(entry_document(entry)))
    with closing(log):
        read_patiently(log.refresh)
    return found


def progress_document(state: RolloutState) -> dict[str, Any]:
    """Return the state of a rollout as a document."""
    plan, routing = state.plan, state.routing
    if plan is None or routing is None:
        return {"phase": state.phase.value}
    pending = state.pending
    return {
        "phase": state.phase.value,
        "name": plan.name,
        "strategy": plan.strategy.value,
        "plan_revision": state.plan_revision,
        "revision": state.revision,
        "since": shown_time(state.moved_at),
        "effective_at": None if routing.effective_at is None else shown_time(routing.effective_at),
        "paused": state.paused,
        "stage": state.stage if plan.ramp else None,
        "ramp": [stage.model_dump(mode="json") for stage in plan.ramp],
        "colour": state.colour or None,
        "arms": _arms(routing),
        "overrides": [rule.model_dump(mode="json") for rule in plan.overrides if routing.overrides],
        "pending": None if pending is None else {
            "proposal": pending.sequence, "kind": pending.kind.value,
            "what": said(pending.body), "reason": pending.reason,
        },
        "verdicts": {
            guard: {"at": shown_time(told.at), **told.verdict.model_dump(mode="json")}
            for guard, told in state.verdicts.items()
        },
        "controller": None if plan.controller is None else {
            **plan.controller.model_dump(mode="json"), "key_id": plan.controller.key_id,
        },
    }  # fmt: skip


def _arms(routing: Routing) -> list[dict[str, Any]]:
    """Return each arm, its role and its share of the customers."""
    rows = []
    for arm, version in routing.versions.items():
        role = "shadow" if arm in routing.shadows else "warm"
        if arm in routing.arms:
            role = "decides"
        rows.append({
            "arm": arm, "version": version.label, "role": role, "share": routing.share(arm),
        })  # fmt: skip
    return sorted(rows, key=lambda row: (-row["share"], row["arm"]))


def entry_document(entry: FoldedRecord) -> dict[str, Any]:
    """Return one record of the log as a document.

    A refused record may be large, and there may be many. So its texts are cut.
    """
    most = None if entry.accepted else _REFUSED_TEXT
    command, signer = entry.command, entry.signer
    return {
        "offset": entry.offset,
        "sequence": None if command is None else command.sequence,
        "at": None if command is None else shown_time(command.at),
        "kind": None if command is None else command.kind[:most],
        "what": "" if entry.body is None else said(entry.body)[:most],
        "reason": entry.body.reason[:most] if isinstance(entry.body, Body) else "",
        "signer": None if signer is None else signer.name,
        "key_id": None if command is None else command.key_id[:most],
        "accepted": entry.accepted,
        "refused": entry.refused or None,
    }


def said(body: StrictModel) -> str:
    """Return the content of a command in one line."""
    told = ""
    if isinstance(body, RolloutPlan):
        versions = ", ".join(f"{arm} {label}" for arm, label in sorted(body.versions.items()))
        told = f"{body.name}: {body.strategy}, {versions}"
        if body.strategy is Strategy.CANARY:
            told += ", " + " → ".join(f"{stage.percent:g} %" for stage in body.ramp)
    elif isinstance(body, Step):
        told = f"stage {body.stage}"
    elif isinstance(body, Switch):
        told = body.to
    elif isinstance(body, Promote):
        told = body.arm
    elif isinstance(body, VerdictGiven):
        told = " ".join([f"{body.guard} {body.verdict}:", *body.reasons]).rstrip(":")
    elif isinstance(body, Propose):
        told = body.kind
    elif isinstance(body, Answer):
        told = f"proposal {body.proposal}"
    return told


def by_partition(
    records: Iterable[dict[str, Any]], of_input: Iterable[int], revision: int
) -> list[dict[str, Any]]:
    """Return, by partition of the input, the active revision and those that were refused.

    Args:
        records: Of the topic ``activations``.
        of_input: The input's partitions.
        revision: The newest revision.
    """
    found: dict[int, dict[str, Any]] = {
        partition: {
            "partition": partition, "revision": None, "offset": None, "since": None,
            "versions": {}, "current": False, "refused": [],
        }
        for partition in of_input
    }  # fmt: skip
    refused: dict[tuple[int, int], dict[str, Any]] = {}
    for record in records:
        row = found.get(record["partition"])
        if row is None:
            continue
        if record["status"] != ACTIVE:
            refused[record["partition"], record["revision"]] = {
                "revision": record["revision"], "offset": record["offset"],
                "reason": record["reason"], "instance": record["instance"],
            }  # fmt: skip
        elif (record["offset"], record["revision"]) >= (row["offset"] or 0, row["revision"] or 0):
            row |= {
                "revision": record["revision"], "offset": record["offset"],
                "since": record["at"].isoformat(), "versions": record["versions"],
                "current": record["revision"] == revision,
            }  # fmt: skip
    for (partition, number), why in refused.items():
        if number > (found[partition]["revision"] or 0):
            found[partition]["refused"].append(why)
    return [found[partition] for partition in sorted(found)]


def _activations(settings: Settings) -> list[dict[str, Any]]:
    """Return the records of the topic ``activations``, without those that cannot be decoded."""
    reader = RecordReader(settings.registry, "activation.v1")
    topic = KeptTopic(settings.kafka, settings.kafka.topics.activations)
    found = []
    try:
        for each in topic.to_end():
            with suppress(RecordError, SchemaError):
                found.append(reader.decode(each.value))
        return found
    finally:
        topic.close()
