"""The current code reads what the previous version wrote; these tests need no broker."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.dead_letters.format import DeadLetter, parse
from stream_scorer.drift.windows.windows import milliseconds
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.stores.deployment import load_plan
from stream_scorer.rollout.operator.reports import entry_document, progress_document
from stream_scorer.rollout.plan.control_record import Command, authority_of
from stream_scorer.rollout.plan.fold_commands import Log
from stream_scorer.security import audit_access
from stream_scorer.settings import Audit, Models, Registry, Rollout
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.partitions.rejected_offsets import Rejected
from tests.recorded.recording import DEMO, GROUP, TOPICS, Record, recorded

OWNER = Owner(GROUP, TOPICS["transactions"])
PARTITIONS = range(2)
SCHEMAS = {
    "labels": "label.v1",
    "decisions": "decision.v1",
    "summaries": "summary.v2",
    "terminal_profiles": "terminal-profile.v1",
    "activations": "activation.v1",
    "rollout": "rollout.v1",
    "shadow_scores": "shadow-score.v1",
    DEMO: "drift-event.v1",
}
Place = tuple[int, int]


@cache
def decoded(topic: str) -> list[dict[str, Any]]:
    """Return a topic's records with the fields of the current schema."""
    reader = RecordReader(Registry(), SCHEMAS[topic])
    return [reader.decode(record.value) for record in recorded().records[topic]]


@dataclass(frozen=True)
class Message:
    """A record as a consumer gets it."""

    record: Record

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.record, name)
        return lambda: (1, value) if name == "timestamp" else value


def letters() -> list[DeadLetter]:
    return [parse(Message(record)) for record in recorded().records["dead_letters"]]


def sources(rows: list[dict[str, Any]]) -> set[Place]:
    return {(row["source_partition"], row["source_offset"]) for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the recorded files."""
    for name, data in recorded().files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def trust(folder: Path) -> Trust:
    keys = {"release": str(folder / "release.key.pub")}
    return trust_of(Models(trusted_keys=keys, require_signature=True))


@pytest.fixture
def log(folder: Path) -> Log:
    """Return the recorded control log, folded."""
    keys = {"ann": str(folder / "ann.key.pub")}
    log = Log(authority_of(Rollout(operator_keys=keys, require_signature=True)))
    for record, row in zip(recorded().records["rollout"], decoded("rollout"), strict=True):
        log.take(record.offset, Command(**{**row, "at": milliseconds(row["at"])}))
    return log


# -- topics ---------------------------------------------------------------------------------------


def test_each_record_of_the_input_has_one_outcome() -> None:
    outcomes = Counter(
        [(row["source_partition"], row["source_offset"]) for row in decoded("decisions")]
        + [(each.source_partition, each.source_offset) for each in letters()]
    )
    there = [(record.partition, record.offset) for record in recorded().records["transactions"]]
    assert outcomes == Counter(there)
    assert len(there) > 2_000


def test_dead_letters_have_their_reasons_and_the_input_bytes() -> None:
    told = recorded().documents["dlq list"]
    assert Counter(each.reason for each in letters()) == told["counts"]
    assert len(told["counts"]) > 8
    values = {
        (each.partition, each.offset): each.value for each in recorded().records["transactions"]
    }
    for each in letters():
        assert values[each.source_partition, each.source_offset] == each.value


def test_decisions_are_of_both_versions() -> None:
    rows = decoded("decisions")
    assert {f"{row['model']}:{row['model_version']}" for row in rows} == {
        "fraud:1.0.0",
        "fraud:1.1.0",
    }
    assert {row["decision"] for row in rows} == {"APPROVE", "REVIEW", "BLOCK"}
    assert {flag for row in rows for flag in row["flags"]} <= {"late", "late_decision", "degraded"}


def test_summaries_count_the_decisions() -> None:
    windows = [window for row in decoded("summaries") for window in row["windows"]]
    assert sum(window["count"] for window in windows) == len(decoded("decisions"))
    rejected: Counter[str] = Counter()
    for row in decoded("summaries"):
        rejected.update(row["rejected"])
    assert rejected == Counter(each.reason for each in letters())


def test_terminal_profiles_have_the_labels() -> None:
    # Rows without a terminal only move the watermark.
    rows = [row for row in decoded("terminal_profiles") if row["terminal_id"] is not None]
    assert len(rows) > 1_000
    assert sources(rows) <= sources(decoded("decisions"))
    assert {row["fraud"] for row in rows} == {False, True}
    frauds = [row for row in decoded("labels") if row["is_fraud"]]
    assert 0 < sum(row["fraud"] for row in rows) <= len(frauds)


def test_shadow_scores_are_of_the_shadow() -> None:
    rows = decoded("shadow_scores")
    assert {row["arm"] for row in rows} == {"candidate"}
    assert sources(rows) < sources(decoded("decisions"))


def test_drift_events_are_read() -> None:
    rows = decoded(DEMO)
    assert len(rows) > 0
    for row in rows:
        assert row["signal"] in {"score", "amount"}
        assert (row["detector"], row["model"], row["model_version"]) == ("adwin", "fraud", "1.1.0")
        assert row["estimate"] > row["reference"] > 0
        assert row["window_start"] < row["window_end"] < row["detected_at"]


# -- control log ----------------------------------------------------------------------------------


def test_the_control_log_folds_to_what_it_was(log: Log) -> None:
    told = recorded().documents["rollout status"]
    now = progress_document(log.state)
    assert {name: now[name] for name in told if name in now} == {
        name: value for name, value in told.items() if name in now
    }
    assert now.keys() >= told.keys() - {"log", "partitions"}
    assert told["log"]["sequence"] == log.state.sequence > 8


def test_each_command_counts_as_it_did(log: Log) -> None:
    now = [entry_document(entry) for entry in log.entries]
    told = recorded().documents["rollout history"]
    assert [{name: row[name] for name in old} for row, old in zip(now, told, strict=True)] == told
    assert all(row["accepted"] for row in now)


def test_activations_are_of_the_revisions_that_decide(log: Log) -> None:
    last: dict[int, tuple[int, int]] = {}
    for row in decoded("activations"):
        assert row["status"] == "ACTIVE"
        assert row["revision"] in log.routings
        last[row["partition"]] = max(
            last.get(row["partition"], (-1, -1)), (row["offset"], row["revision"])
        )
    told = recorded().documents["rollout status"]["partitions"]
    assert {row["partition"]: row["revision"] for row in told} == {
        partition: revision for partition, (_, revision) in last.items()
    }


# -- state ----------------------------------------------------------------------------------------


def state_of(partition: int) -> list[tuple[bytes | None, bytes | None]]:
    return [
        (record.key, record.value)
        for record in recorded().records["state"]
        if record.partition == partition
    ]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_checkpoints_are_written_again_as_the_same_bytes(partition: int) -> None:
    assembly = Assembly(OWNER, partition)
    assembly.add(state_of(partition))
    buckets = assembly.buckets()
    assert len(buckets) == 1_024
    assert sum(len(bucket.payload) > 0 for bucket in buckets.values()) > 10
    newest = {key: value for key, value in state_of(partition) if OWNER.place(key or b"")}
    written = [record for bucket in buckets.values() for record in bucket.records(OWNER)]
    assert dict(written) == newest


@pytest.mark.parametrize("partition", PARTITIONS)
def test_a_state_topic_without_rejections_is_read(partition: int) -> None:
    """The recorded version did not store rejections."""
    rejected = Rejected(OWNER, partition)
    rejected.add(state_of(partition))
    assert rejected.settle() == []
    offsets = np.arange(recorded().ends["transactions"][partition])
    assert rejected.among(offsets) is None


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_signed_bundles_load(version: str, folder: Path, trust: Trust) -> None:
    store = folder / "store" / "fraud"
    bundle = load_bundle(store / version, trust)
    assert bundle.manifest.label == f"fraud:{version}"
    assert ("RISK" in bundle.model(load_plan(store / "plan.toml")).features.names) == (
        version == "1.1.0"
    )


def test_the_audit_log_is_complete_and_signed(folder: Path) -> None:
    keys = {"release": str(folder / "release.key.pub")}
    settings = Audit(path=folder / "audit.jsonl", trusted_keys=keys, require_signature=True)
    found = audit_access.verify(settings)
    assert found.faults == []
    shown = audit_access.shown(settings, None, None, None, 50)
    assert {line.deed.action for line in shown} >= {"model.sign"}
    assert len(shown) > 8
