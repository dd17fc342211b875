"""Faults of the data that upstream sends, and of the schema registry."""

import io
import json
import shutil
import signal
from dataclasses import replace
from typing import Any

import fastavro

from stream_scorer.settings import MODELS_DIRECTORY
from tests.faults.suite.registry import kind
from tests.faults.suite.registry_door import Door, registry
from tests.faults.suite.stage import Stage
from tests.faults.suite.traffic import traffic
from tests.faults.verifier.payloads import SCHEMAS, transaction
from tests.support.faults.process import wait_until
from tests.support.faults.reference_run import Record

_REFUSED_MODEL = 3
_MANY = 300
_UNKNOWN_ID = (99_999).to_bytes(4, "big")
_REJECTED = "stream_scorer_rejected_total"
_MODEL_REFUSED = "stream_scorer_model_refused"
_VERIFICATIONS = "stream_scorer_model_verifications_total"


def good(count: int) -> list[Record]:
    """Return transactions from the end of the load, with new ids."""
    chosen = [r for r in traffic()[::-1] if not r.bad and r.value is not None][: 2 * count : 2]
    return chosen[::-1]


def _mixed_in(stage: Stage, records: list[Record], reason: str) -> None:
    scorer = stage.start()
    before = scorer.metric(_REJECTED, reason=reason) or 0
    stage.feed.insert(records)

    def rejected() -> float:
        return (scorer.metric(_REJECTED, reason=reason) or 0) - before

    wait_until(
        lambda: rejected() >= len(records), lambda: f"all are rejected as {reason}: {stage.said}"
    )
    stage.fired(int(rejected()), f"records rejected as {reason}, by metric")
    stage.fault_over()
    stage.finish()


@kind("data")
def malformed(stage: Stage) -> None:
    """A burst of records that do not decode."""
    bad = [replace(r, value=(r.value or b"")[:-3], bad="MALFORMED") for r in good(_MANY)]
    _mixed_in(stage, bad, "MALFORMED")


@kind("data")
def unknown_schema_id(stage: Stage) -> None:
    """A burst of records with a schema id that is not registered."""
    bad = [
        replace(r, value=b"\0" + _UNKNOWN_ID + (r.value or b"")[5:], bad="UNKNOWN_SCHEMA")
        for r in good(_MANY)
    ]
    _mixed_in(stage, bad, "UNKNOWN_SCHEMA")


@kind("data")
def oversize_record(stage: Stage) -> None:
    """Records of several hundred KB, more than the plan allows."""
    schema = fastavro.parse_schema(json.loads((SCHEMAS / "transaction.v1.avsc").read_text()))
    bad = []
    for record in good(20):
        row = transaction(record.value or b"") | {"device_id": "x" * 300_000}
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        value = (record.value or b"")[:5] + out.getvalue()
        bad.append(replace(record, value=value, bad="TOO_LARGE"))
    _mixed_in(stage, bad, "TOO_LARGE")


def _of_a_new_schema(door: Door) -> list[Record]:
    """Return transactions of a schema that no scorer has seen: ours with one field more."""
    schema = json.loads((SCHEMAS / "transaction.v1.avsc").read_text())
    schema["fields"].append({"name": "basket", "type": ["null", "string"], "default": None})
    frame = b"\0" + door.register("transactions-value", schema).to_bytes(4, "big")
    parsed = fastavro.parse_schema(schema)
    records = []
    for record in good(50):
        out = io.BytesIO()
        row: dict[str, Any] = transaction(record.value or b"") | {"basket": "b"}
        fastavro.schemaless_writer(out, parsed, row)
        records.append(replace(record, value=frame + out.getvalue()))
    return records


@kind("data")
def registry_down(stage: Stage) -> None:
    """The registry is gone when records of a new schema come: the scorer pauses."""
    with registry(stage.folder) as door:
        scorer = stage.start(variables={"STREAM_SCORER_REGISTRY__URL": door.url})
        records = _of_a_new_schema(door)
        door.shut = True
        stage.feed.insert(records)

        def paused() -> bool:
            return any(reason.startswith("paused: registry") for reason in scorer.probe()[1])

        wait_until(paused, lambda: f"it says that it is paused: {stage.said}")
        door.shut = False
        stage.fired(door.refused, "requests that the registry did not answer")
        stage.fault_over()
        stage.finish()


@kind("data")
def registry_slow(stage: Stage) -> None:
    """The registry takes 3 s for an answer when records of a new schema come."""
    with registry(stage.folder) as door:
        stage.start(variables={"STREAM_SCORER_REGISTRY__URL": door.url})
        records = _of_a_new_schema(door)
        door.delay_seconds = 3.0
        stage.feed.insert(records)
        wait_until(lambda: door.delayed > 0, "the new schema is asked for")
        stage.wait_decided(200)
        door.delay_seconds = 0.0
        stage.fired(door.delayed, "answers of the registry that took 3 s")
        stage.fault_over()
        stage.finish()


@kind("data")
def tampered_model(stage: Stage) -> None:
    """The model's file changes while the scorer runs: reported, and never loaded."""
    models = stage.folder / "models"
    shutil.copytree(MODELS_DIRECTORY, models)
    variables = {
        "STREAM_SCORER_MODELS__DIRECTORY": str(models),
        "STREAM_SCORER_MODELS__VERIFY_SECONDS": "0",
    }
    scorer = stage.start(variables=variables)
    path = models / "fraud" / "1.0.0" / "model.skops"
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    scorer.send(signal.SIGHUP)

    def refused() -> float:
        return scorer.metric(_VERIFICATIONS, cause="signal", result="refused") or 0

    wait_until(lambda: refused() > 0, lambda: f"it refuses to load it again: {stage.said}")
    assert scorer.metric(_MODEL_REFUSED) == 1
    assert scorer.probe() == (True, [])
    other = stage.scorer(instance="1", variables=variables, wait=False)
    assert other.wait() == _REFUSED_MODEL, other.said
    assert "model.skops" in other.said
    stage.wait_decided(200)
    stage.fired(int(refused()), "reloads of the changed file refused, by metric")
    stage.fired(1, "a second scorer refused the file with exit code 3, the first still decided")
    path.write_bytes(whole)
    scorer.send(signal.SIGHUP)
    wait_until(
        lambda: scorer.metric(_MODEL_REFUSED) == 0, lambda: f"it is whole again: {stage.said}"
    )
    stage.fault_over()
    stage.scorer(instance="1", variables=variables)
    stage.finish()
