"""Every table fits into 80 columns: no cell is cut, and none contains a Python literal."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_scorer.batch.run import Report as Scored
from stream_scorer.cli import demo, options, output
from stream_scorer.cli.main import COMMANDS, app, load
from stream_scorer.cli.rollout_drawing import draw
from stream_scorer.dataset.contract import DatasetReport
from stream_scorer.dead_letters.format import DeadLetter
from stream_scorer.dead_letters.list import Listing
from stream_scorer.dead_letters.replay import Replayed
from stream_scorer.devkafka.background import BackgroundProcess, Running
from stream_scorer.drift.reports.events import event_of
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.export.order import ExportReport
from stream_scorer.edge.operator.provision import ProvisionedDevice
from stream_scorer.edge.run.install import InstalledExport
from stream_scorer.edge.run.keys import InitReport
from stream_scorer.edge.run.status import DeviceStatus
from stream_scorer.edge.update.release import Release, ReleaseFile
from stream_scorer.edge.update.repository import RepositoryState
from stream_scorer.explaining.sample import RecordSample
from stream_scorer.hardening.settings_check import Finding
from stream_scorer.kafka.topics.create_topics import TopicReport
from stream_scorer.kafka.topics.lag import PartitionLag
from stream_scorer.labels.delay_curve import DelayCurve
from stream_scorer.labels.report import ImportReport
from stream_scorer.reproduce.compare import Reproduction
from stream_scorer.security.api_keys import generate_key
from stream_scorer.security.audit_lines import AuditLine, Deed
from stream_scorer.security.audit_verify import AuditVerification
from stream_scorer.settings import Settings
from stream_scorer.state.commands.inspect import PartitionCheckpoint
from stream_scorer.state.commands.rebuild import Rebuilt
from stream_scorer.state.commands.repartition import Repartitioned
from stream_scorer.state.commands.verify import PartitionComparison
from tests.support.drift.documents import alarm, document

HASH = "42e8290b8263c56d2457ebede9bbdba2ffab9ced6a7da389bb37f236cf6e3256"
KEY = "3f2a91c04d5e6b78"
ISO = "2026-11-25T10:00:00.123+00:00"
AT_MS = 1_795_600_800_123
WRITTEN = {"sequence": 12, "kind": "plan", "what": "try 1.1: canary, canary fraud:1.1.0, champion "
           "fraud:1.0.0, 1 % → 5 % → 25 % → 50 % → 100 %", "signer": "ann", "at": ISO}  # fmt: skip
RELEASE = Release("fraud:1.10.0", {"fraud/plan.toml": ReleaseFile(1, HASH)})
REPOSITORY = RepositoryState(
    dict.fromkeys(("root", "targets", "snapshot", "timestamp"), 12_345),
    dict.fromkeys(("root", "targets", "snapshot", "timestamp"), datetime.fromisoformat(ISO)),
    ("targets",), {"stable": f"fraud-1.10.0-{KEY}"},
)  # fmt: skip
ENTRY = WRITTEN | {
    "offset": 1_234_567, "reason": "too many alerts since the morning", "key_id": KEY,
    "accepted": False, "refused": "has number 4, and 5 is next: another command came first",
}  # fmt: skip
EDGE = {
    "events": 1_725_031, "late": 125_031, "degraded": 3, "refused": {"unknown_device": 1_031},
    "repeated": 0, "central_failed": 0, "without_central": 0, "agreed": 1_725_000,
    "differed": {"APPROVE→BLOCK": {"events": 31, "amount_minor": {"EUR": 1_234_567}}},
    "oldest_delay_seconds": 86_400.123456789, "by_device": {"till-17": {"events": 1_725_031}},
}  # fmt: skip
RUN = {
    "number": 12,
    "step": "failed",
    "reason": "the gate did not pass",
    "trigger": "loss",
    "began_at": AT_MS,
    "version": "fraud:1.11.0",
    "onset_ms": AT_MS,
    "tolerance": 0.123456789,
    "digests": {"dataset": HASH, "gate": HASH},
    "trials": [],
}
STATUS = {
    "phase": "running", "name": "try 1.1", "paused": False, "strategy": "canary", "revision": 12,
    "since": ISO, "effective_at": ISO, "stage": 1,
    "ramp": [{"percent": percent} for percent in (1, 5, 25, 50, 100)],
    "arms": [{"arm": "champion", "version": "fraud:1.10.0", "role": "decides", "share": 0.95},
             {"arm": "canary", "version": "fraud:1.11.0", "role": "decides", "share": 0.05}],
    "partitions": [
        {"partition": 11, "revision": 12, "offset": 1_234_567_890, "since": ISO, "current": False,
         "not_loadable": {"fraud:1.11.0": "its content hash is not that of its files"},
         "refused": [{"revision": 13, "reason": "it needs a window of 60 days"}]},
    ],
    "verdicts": {"fast": {"verdict": "CONTINUE", "at": ISO, "reasons": ["no harm is shown"],
                          "numbers": {"e_alerts": 0.123456789, "canary_events": 1_725_031.0}}},
    "pending": {"kind": "promote", "what": "canary", "reason": "not worse by δ", "proposal": 7},
}  # fmt: skip
BUNDLE = {
    "name": "fraud", "version": "1.10.0", "kind": "hist_gradient_boosting", "refused": None,
    "signature": "unknown key", "signed_by": None, "key_id": KEY, "content_hash": HASH,
    "trained_at": ISO, "trained_on": "2018-07-25:2018-07-31",
}  # fmt: skip
REFUSED = {"name": "fraud", "version": "1.9.0", "refused": f"fraud:1.9.0: content hash {HASH}"}
LETTER = DeadLetter(
    partition=11, offset=1_234_567_890, timestamp=AT_MS, value=b"\0" * 40, key=b"C123",
    headers=[("dlq.reason", b"UNKNOWN_CURRENCY")], reason="UNKNOWN_CURRENCY",
    detail="currency: 'XXX' is not in the plan: EUR, USD", source_topic="transactions",
    source_partition=11, source_offset=1_234_567_891, source_timestamp=AT_MS, instance="scorer-0",
)  # fmt: skip
CLIENT = {
    "client": "checkout-emea", "disabled": True, "scopes": ["score", "read"],
    "rate_per_second": 200.0, "burst": 400, "quota_per_day": 5_000_000, "not_before": None,
    "expires": ISO, "certificate_subjects": ["CN=till,O=Example"],
    "keys": [{"id": KEY, "not_after": None}],
}  # fmt: skip
COMMAND = {
    "command": HASH[:32], "kind": "snooze", "event": "", "until": AT_MS, "key": KEY,
    "offset": 1_234_567, "topic": "drift-commands",
}  # fmt: skip
STATE = PartitionCheckpoint(
    11, 1_024, 125_031, 3_725_031, 912_345_678, 1_234_567_890, 1_234_667_890, 1_234_667_891,
    100_001, 12, 1, {1: 12, 2: 1_012}, AT_MS,
)  # fmt: skip
EMPTY = PartitionCheckpoint(0, 0, 0, 0, 0, None, None, None, None, None, None, {}, None)
WINDOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
FIGURES = {
    "reviews_per_day": 400.03125, "reviews_daily_spread": 21.123456789,
    "reviews_poisson_share": 0.912345678, "blocks_per_day": 63.0078125,
    "precision": 0.87123456789, "recall": 0.60123456789, "cost_per_day": 12_345.678901,
}  # fmt: skip
CHOSEN = {
    "model": "fraud:1.10.0", "policy": "policy.toml", "picture": None, "review": 0.312345678901,
    "block": 0.82, "budget": 400.0, "days": "92:182", "number_of_days": 91,
    "training_days_left_out": None, "days_with_incomplete_history": 31, **FIGURES,
    "likely_error": 0.0123456789, "days_needed": 31, "tied_per_day": 0.0, "before": FIGURES,
    "check": {"days": "183:242", "number_of_days": 60, "difference": -0.0123456789, **FIGURES},
    "curve": [{**FIGURES, "review": 0.312345678901, "block": 0.82}] * 2,
}  # fmt: skip
IMPORTED = {
    "bundle": "fraud:2.0.0", "directory": "/srv/models/fraud/2.0.0", "content_hash": HASH,
    "library": "scikit_learn 1.9.1", "kind": "extra_trees", "features": 21, "rows": 1_725_031,
    "rejected": {"MALFORMED": 3}, "review": 0.0604123456789, "block": 0.9, "auc": 0.8712345678,
    "validation_days": "2018-07-25:2018-07-31", "validation_frauds": 1_031, "cost_saved": None,
}  # fmt: skip
SHOWN = SimpleNamespace(
    verification=SimpleNamespace(reasons={"MALFORMED": 31}), malformed={"MALFORMED": 31},
    change_ms=AT_MS, drifts=[
        {"severity": "note", "signal": "amount/level@all", "window_start": WINDOW,
         "reference": 0.123456789,
         "window_end": WINDOW + timedelta(minutes=5), "estimate": 53.123456}],
    document=lambda: {"transactions": 1_725_031, "events_per_second": 123_457,
                      "latency_p50_ms": None, "average_precision": 0.6123456789},
)  # fmt: skip


def _patches() -> dict[str, dict[str, Any]]:
    """Return what replaces cluster, files and models, by the words of a command."""
    cli, models = "stream_scorer.cli", "stream_scorer.models.commands"
    audit = "stream_scorer.security.audit_access"
    checkpoint = SimpleNamespace(owner=SimpleNamespace(group="stream-scorer", topic="transactions"))
    opened = {f"{cli}.state.open_checkpoint": checkpoint}
    operator = mock.MagicMock()
    writer = mock.MagicMock()
    writer.return_value.__enter__.return_value.revoke.return_value = SimpleNamespace(
        revoked_after=125_031
    )
    operated = {
        f"{cli}.options.read_private": object(),
        f"{cli}.options.passphrase_from": None,
        "stream_scorer.edge.operator.registrations.RegistryWriter": writer,
    }
    trainer = "stream_scorer.retraining.run"
    for act in (
        "step",
        "switch",
        "promote",
        "rollback",
        "pause",
        "resume",
        "answer",
        "start",
        "grant",
        "revoke",
    ):
        getattr(operator, act).return_value = WRITTEN
        getattr(operator.return_value.__enter__.return_value, act).return_value = WRITTEN
    moved = {f"{cli}.rollout.{name}": operator for name in ("operating", "Operator")}
    log = {f"{cli}.rollout.control_log": mock.MagicMock()}
    running = Running("127.0.0.1:43567", "http://127.0.0.1:43568", 1, "/srv/work/.dev/kafka",
                      (BackgroundProcess("broker 0", 1_234_567, 0),))  # fmt: skip
    trained = {
        "bundle": "fraud:1.11.0", "directory": "/srv/models/fraud/1.11.0", "rows": 1_725_031,
        "review": 0.060412345678901234, "new_cards_auc": None, "content_hash": HASH,
        "intervals": {"auc": [0.8712345678901234, 0.9012345678901234]},
    }  # fmt: skip
    clients = mock.MagicMock()
    clients.return_value.add.return_value = generate_key()
    clients.return_value.rotate.return_value = generate_key()
    changed = {f"{cli}.clients.ClientsOptions.changes": clients}
    monitor = {f"{cli}.drift.read_monitor": document(),
               f"{cli}.drift.read_events": ([event_of(alarm())], 1),
               f"{cli}.drift.read_performance": []}  # fmt: skip
    feed = mock.MagicMock()
    feed.return_value.__enter__.return_value.sent = 1_725_031
    return {
        "audit verify": {f"{audit}.verify": AuditVerification(
            2, 1_725, 1_725, HASH, {"ann": 1_700}, 0, 25, ["audit.log:12"])},
        "audit show": {f"{audit}.shown": [AuditLine(1_725, "2026-11-25T10:00:00.123Z", Deed(
            f"key:{KEY}", "rollout.plan", "try 1.1", {"what": WRITTEN["what"], "sha256": HASH,
            "reason": None}), HASH, HASH, KEY, b"")]},
        "batch in.parquet out.parquet --model fraud": {f"{cli}.batch.run_batch": Scored(
            "fraud:1.1.0", Path("/srv/decisions/2026-11-25.parquet"), None, 1_754_155, 0,
            {"APPROVE": 1_725_031, "REVIEW": 20_000, "BLOCK": 9_124}, {}, 0, 0, 0, None, 0, 0,
            63.123456)},
        "clients add shop --scope score": changed,
        "clients rotate shop": changed,
        "clients disable shop": changed,
        "clients remove shop": changed,
        "clients list": {
            f"{cli}.clients.ClientsOptions.path": Path("/srv/clients.json"),
            "stream_scorer.security.client_changes.listed_clients": [CLIENT],
        },
        "drift status": monitor,
        "drift explain 0123": monitor,
        "drift report --html r.html": monitor | {f"{cli}.drift.write_html": None},
        **{f"drift {words}": monitor | {f"{cli}.drift.give": COMMAND} for words in (
            "ack 0123", "accept 0123456789abcdef", "snooze --until 4h")},
        "dlq list": {f"{cli}.dlq.list_dead_letters": Listing({"UNKNOWN_CURRENCY": 1_031},
                                                             [LETTER])},
        "dlq show 11 1234567890": {f"{cli}.dlq.dead_letter_at": LETTER,
                                   f"{cli}.dlq.RecordReader": mock.MagicMock()},
        "dlq replay": {f"{cli}.dlq.replay_dead_letters": Replayed(
            Counter(UNKNOWN_CURRENCY=1_031), Counter(DUPLICATE=12))},
        "dlq take 11 1234567890": {f"{cli}.dlq.take_record": SimpleNamespace(
            before=1_234_567_890, after=1_234_567_891, retried=False)},
        "kafka start": {f"{cli}.kafka.background.start": (running, True)},
        "kafka stop": {f"{cli}.kafka.background.stop": running},
        "kafka status": {f"{cli}.kafka.background.recorded": running},
        "lag --seconds": {f"{cli}.lag.read_lag": [
            PartitionLag("transactions", 11, 1_234_567_890, 0, 1_234_667_890, 1_234_667_891, 12.3),
            PartitionLag("transactions", 12, None, 0, 1_234_667_890, 1_234_667_891, None)]},
        "models keygen --out k": {f"{models}.sign.generate": SimpleNamespace(
            private="/srv/keys/ann", public="/srv/keys/ann.pub", key_id=KEY,
            public_base64="ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=")},
        "models sign fraud:1.1.0 --key k": {f"{models}.sign.sign": (
            "fraud:1.1.0", SimpleNamespace(key_id=KEY, name=None))},
        "models verify fraud": {},
        "models list": {f"{models}.report.listed": [BUNDLE, REFUSED]},
        "models show fraud": {},
        "models diff fraud:1.0.0 fraud:1.1.0": {},
        "models validate fraud": {},
        "models upgrade fraud:1.10.0 --version 1.10.1": {f"{models}.upgrade.upgrade": {
            "old": "fraud:1.10.0", "new": "fraud:1.10.1", "content_hash": HASH,
            "directory": "/srv/models/fraud/1.10.1", "golden_rows": 64,
            "golden_rows_with_the_same_bits": 64}},
        "models reference fraud:1.10.0 --data d.parquet --version 1.10.1": {
            f"{models}.reference.add_reference": {
                "old": "fraud:1.10.0", "new": "fraud:1.10.1",
                "directory": "/srv/models/fraud/1.10.1", "content_hash": HASH,
                "reference_digest": HASH[:16], "fields": 23, "streams": 480, "segments": 20,
                "weeks": 20, "rows_features": 1_725_031, "rows_scores": 125_031, "pooled": 48,
                "left_out": ["TERMINAL_ID_RISK_30DAY_WINDOW", "TERMINAL_ID_NB_TX_30DAY_WINDOW"]}},
        "models import m.txt --features f.toml --validation v.parquet --version 2.0.0 --out o": {
            f"{models}.import_model.import_model": (
                Path("/srv/models/fraud/2.0.0"), SimpleNamespace(label="fraud:2.0.0")),
            f"{models}.import_model.report": IMPORTED,
            "stream_scorer.models.stores.new_plan.place": None},
        "produce in.parquet": {f"{cli}.produce.Feed": feed, f"{cli}.produce.records_of_file":
                               mock.MagicMock()},
        "reproduce --transaction T1725031": {"stream_scorer.reproduce.run.reproduce": Reproduction(
            "input", 1_725_031, 1_725_031, 1_725_031, models={"fraud:1.1.0": 1_725_031},
            libraries={"numpy": "2.4.6"}, examples=[{
                "transaction_id": "T1725031", "source_partition": 11, "field": "score",
                "source_offset": 1_234_567, "recorded": "0.1", "recomputed": "0.2"}])},
        "rollout start --plan p.toml": moved,
        "rollout explore --key k --cap 400 --max-amount 250 --from 2026-01-01T00:00:00Z "
        "--to 2026-02-01T00:00:00Z": {"stream_scorer.rollout.operator.explore.explored": {
            "explore": {"key_digest": HASH[:32], "bands": [{"from": 0.9125, "p": 0.01}],
                        "max_amount": 250.0, "cap_per_day": 400.0,
                        "expected_per_day": 123.5, "computed_from": HASH},
            "days": 31.0, "blocks": 12_346, "blocks_inside": 11_031,
            "let_through_per_day": 3.987654321, "worst_day": 356.123456789,
            "days_until_let_through": 75.123456789, "days_until_genuine": 1_254.987654321,
            "decisions": 1_725_031}},
        "retrain once --reason drift": {f"{trainer}.once.retrain_once": RUN},
        "retrain status": {f"{trainer}.reports.status": {
            "state": "training", "run": 12, "step": "search", "trigger": "loss",
            "reason": "the loss per decision rose by 0.123", "since": AT_MS,
            "next_schedule": None, "grant": {"number": 4, "expires_at": AT_MS, "share": 25.0,
                                             "promote": True, "revoked": False},
            "key_id": KEY, "guards": [
                {"name": "matured frauds", "passed": True, "value": "1,031", "needed": "300"},
                {"name": "rollout", "passed": False, "value": "try 1.1", "needed": "none"}],
            "champion": "fraud:1.10.0", "last": {"number": 11, "result": "failed",
                                                 "reason": "the gate did not pass"}}},
        "retrain history": {f"{trainer}.reports.history_of": [RUN, RUN]},
        **{f"retrain {words}": {f"{cli}.rollout.{name}": operator
                                for name in ("operating", "Operator")}
           | {f"{cli}.retrain.grant_of": mock.MagicMock()}
           for words in ("grant g.toml", "revoke 4")},
        "rollout status": log | {f"{cli}.rollout.status_of": STATUS},
        "rollout history": log | {f"{cli}.rollout.history_of": [ENTRY]},
        **{f"rollout {name}": moved for name in ("step", "switch", "promote", "rollback", "pause",
                                                 "resume", "approve", "reject")},
        "schemas list": {},
        "schemas check": {},
        "security check --offline": {f"{cli}.security.setting_findings": [Finding(
            "kafka.client.enable.ssl.certificate.verification", "is off: whoever is on the "
            "network can pose as the broker", "remove it, and set ssl.ca.location")]},
        "events explain --topic payments --events events.toml": {
            f"{cli}.events._sample": RecordSample("json", [
                b'{"transaction": {"identifier": "T%d"}, "ts": 1, "card": "C", "sum": %s}' % each
                for each in [(1, b"1.5"), (2, b"1.555"), (3, b"null")]], [b"C", b"C", None]),
            f"{cli}.events._read": {"record": {"format": "json"}, "fields": {
                "transaction_id": "transaction.identifier", "currency": {"constant": "EUR"},
                "event_time": {"path": "ts", "unit": "s"}, "customer_id": "card",
                "amount": {"path": "sum", "unit": "major"}}}},
        "labels import chargebacks.csv": {"stream_scorer.labels.run.import_labels": ImportReport(
            1_001_034, 1_000_000, 0, 1_031, 2, 1, 41.123456,
            {"foreign": tuple(f"transaction-{at:012d}" for at in range(20)), "ambiguous": ("a",),
             "invalid": ("12: has no transaction id",)})},
        "labels delay --from 2026-01-01 --to 2026-04-01": {
            "stream_scorer.labels.delay.read_delays": DelayCurve(
                np.array([86_400_000, 864_000_000]), np.array([0.123456789, 1.0]),
                10_368_000_000, 14_681)},
        "dataset build --from 2026-01-01 --to 2026-04-01 --labels-as-of 2026-05-01 --out d": {
            "stream_scorer.dataset.run.build_dataset": DatasetReport(
                Path("/srv/datasets/2026-05-01"), HASH, 5_840_000, 840_000, 5_000_000,
                {"blocked": 1_031, "sampled": 94_160_000}, 147.123456, 1_224.1)},
        "edge init --device till-17": {"stream_scorer.edge.run.keys.init_device": InitReport(
            "till-17", Path("/var/lib/stream-scorer/edge"), Path("till-17.request.json"))},
        "edge install till-17-export": {"stream_scorer.edge.run.install.install": InstalledExport(
            "fraud:1.10.0", HASH, state=True, terminals_watermark=AT_MS)},
        "edge status": {"stream_scorer.edge.run.ask.running_status": DeviceStatus(
            "till-17", "fraud:1.10.0", HASH, 1_725_031, 1_600_000, 125_031, 98_765_432,
            86_400.123456789, 1_031, AT_MS, None, 12_345_678,
            "edge.upload_url https://scores.example.com: Connection refused").document()},
        "export fraud:1.10.0 --target onnx --out f": {
            "stream_scorer.edge.export.run.export": ExportReport(
                "fraud:1.10.0", "onnx", Path("/srv/exports/fraud"), {"model.onnx": HASH}, 108_031,
                2_031, 1.23456789, None, {"margin": 1.23456789e-7, "score": 3.1e-8})},
        "edge provision till-17 --request r --key k": operated | {
            "stream_scorer.edge.operator.registrations.read_request": None,
            "stream_scorer.edge.operator.provision.provision": ProvisionedDevice(
                "till-17", 1, ("fraud:1.10.0",), "till-17", generate_key().text)},
        "edge revoke till-17 --key k": operated,
        "edge progress till-17": {
            "stream_scorer.edge.operator.progress.device_progress": EdgeProgress(
                125_031, bytes.fromhex(HASH))},
        "edge report": {"stream_scorer.edge.operator.report.edge_report": EDGE},
        "models thresholds fraud:1.10.0 --data t.parquet --budget 400/day": {
            "stream_scorer.models.commands.thresholds.choose_thresholds_by": CHOSEN},
        "edge publish refresh /srv/edge": {"stream_scorer.edge.update.repository.ReleaseStore":
            SimpleNamespace(refresh=lambda _: REPOSITORY)},
        "edge update": {"stream_scorer.edge.update.opening.open_client": SimpleNamespace(
            check=lambda: RELEASE, install=lambda _: None)},
        "simulate --out t.parquet --days 2": {f"{cli}.simulate.write_table": None},
        "state inspect": opened | {f"{cli}.state.inspect_partitions": [STATE, EMPTY]},
        "state verify": opened | {f"{cli}.state.verify_partitions": [
            PartitionComparison(11, 1_024, (), 1_234_567, 3_725_031, AT_MS, "", ())]},
        "state export --out f": opened | {f"{cli}.state.export_rings": (125_031, 3_725_031)},
        "state rebuild": opened | {f"{cli}.state.rebuild_partitions": [
            Rebuilt(11, 1_234_567_890, 1_234_667_890, 125_031), Rebuilt(1, 0, None, 0)]},
        "state repartition": opened | {f"{cli}.state.repartition_customers": Repartitioned(
            6, 12, 125_031, 62_000, 12, 1_031)},
        "topics create": {f"{cli}.topics.create_topics": [TopicReport(
            "transactions", 6, 12, False, 1_048_588, 2_097_152, 86_400_000, 604_800_000)]},
        "train --data t.parquet --model random_forest --version 1.11.0": {
            "stream_scorer.training.run.train": (
                Path("/srv/models/fraud/1.11.0"), SimpleNamespace(label="fraud:1.11.0")),
            "stream_scorer.training.card.report": trained},
    }  # fmt: skip


CASES = _patches()
KEYS = {
    "batch": ["1,725,031", "63.1", "outcomes.APPROVE"],
    "dlq list": ["1234567890", "UNKNOWN_CURRENCY", "2026-11-25"],
    "dlq show": ["transactions:11:1234567891"],
    "dlq take": ["1234567891"],
    "drift status": ["score/level@all", "0123456789abcdef", "missing", "1,440 windows", "page"],
    "drift explain": ["rose from 0.02 to 0.05", "2023-11-14 22:00 UTC", "40.0 %"],
    "drift report": ["r.html"],
    "drift snooze": [HASH[:32], "drift-commands"],
    "edge init": ["till-17.request.json", "Send the request"],
    "edge install": ["fraud:1.10.0", HASH[:40], "2026-11-25 10:00:00"],
    "edge status": ["1,725,031", "125,031", "98,765,432", "2026-11-25 10:00:00"],
    "export": ["fraud:1.10.0", "108,031", "differences.margin"],
    "edge provision": ["till-17", "fraud:1.10.0", "shown only now"],
    "edge revoke": ["till-17", "125,031"],
    "edge progress": ["125,031", HASH[:40]],
    "edge publish": ["version 12,345, expires 2026-11-25 10:00:00", "sign it again", KEY],
    "edge update": ["fraud:1.10.0", "updated", "yes"],
    "edge report": ["1,725,031", "unknown_device", "APPROVE→BLOCK", "1,234,567"],
    "events explain": ["transaction.identifier", 'constant "EUR"', "MAPPING", "more digits"],
    "dataset build": ["5,840,000", "left_out.sampled", "94,160,000", HASH[:40], "next:"],
    "labels import": ["1,001,034", "1,031", "transaction-000000000019", "12: has no"],
    "labels delay": ["14,681", "days_99", "reported_by.1", "after_days = 10.0"],
    "lag": ["transactions", "1234567890", "100,001", "-"],
    "models list": ["fraud:1.10.0", "unknown key", KEY, HASH[:12], "2026-11-25"],
    "models diff": ["TERMINAL_ID_RISK_30DAY_WINDOW"],
    "models import": ["fraud:2.0.0", "1,725,031", "0.0604", "scikit_learn 1.9.1"],
    "models upgrade": ["fraud:1.10.1", HASH[:40]],
    "models reference": ["fraud:1.10.1", "1,725,031", HASH[:16], "RISK_30DAY_WINDOW"],
    "models thresholds": ["policy.toml", "92:182", "check: difference", "12,346"],
    "rollout history": ["12", "2026-11-25", "10:00:00", "plan", "ann"],
    "rollout status": ["fraud:1.11.0", "1234567890", "95.00%", "1,725,031"],
    "state inspect": ["1,024", "125,031", "1234567890", "100,001", "2026-11-25"],
    "state verify": ["3,725,031", "2026-11-25"],
    "state rebuild": ["1234667890", "125,031"],
    "train": ["0.0604", "0.871, 0.901"],
}
LITERAL = re.compile(r"None|True|False|[\[{(]'|'[\]})]|\d\.\d{7}")


def _run(words: str, *more: str) -> str:
    """Return what a command prints in a terminal of 80 columns."""
    with ExitStack() as stack:
        stack.enter_context(
            mock.patch.object(options, "connected_settings", return_value=Settings())
        )
        if words.startswith("rollout start"):
            stack.enter_context(mock.patch("stream_scorer.rollout.operator.start.planned"))
            stack.enter_context(mock.patch("stream_scorer.rollout.operator.start.verify"))
        for target, found in CASES[words].items():
            double = found if isinstance(found, mock.Mock) else mock.Mock(return_value=found)
            stack.enter_context(mock.patch(target, double))
        done = CliRunner().invoke(app, [*words.split(), *more], env={"COLUMNS": "80"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stdout


@pytest.mark.parametrize("words", CASES)
def test_a_table_fits_and_reads_as_text(words: str) -> None:
    printed = _run(words)
    assert printed
    for line in printed.splitlines():
        # What can be copied may be longer: a command has paths, a plan's table a digest.
        assert len(line) <= 80 or line.startswith(("next: stream-scorer ", "computed_from = ")), (
            line
        )
    assert "…" not in printed
    assert LITERAL.findall(printed) == []
    for command, keys in KEYS.items():
        if words.startswith(command):
            assert [key for key in keys if key not in printed] == [], printed


def _commands() -> Iterator[str]:
    for name in COMMANDS:
        command = load(name)
        for each in getattr(command, "commands", {"": command}).values():
            if "--json" in {option for param in each.params for option in param.opts}:
                yield name if each is command else f"{name} {each.name}"


def test_every_command_that_prints_a_table_is_here() -> None:
    # These two print lines in addition to their tables, which other tests render.
    shown = {" ".join(words.split()[:2]) for words in CASES} | {words.split()[0] for words in CASES}
    assert {name for name in _commands() if name not in shown} == {"demo", "tail"}


def test_the_tables_of_the_demo_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    demo._tables(cast("Any", SHOWN))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert LITERAL.findall(printed) == []
    for words in ("1,725,031", "123,457", "0.123", "MALFORMED"):
        assert words in printed


@pytest.mark.parametrize("words", ["state inspect", "dlq list", "audit show"])
def test_a_wide_table_has_all_columns_and_a_line_for_each_row(words: str) -> None:
    (row,) = [
        line
        for line in _run(words, "--wide").splitlines()
        if any(text in line for text in ("912,345,678", "transactions:11", f"key:{KEY}"))
    ]
    assert len(row) > 80


def test_a_rollout_without_verdicts_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    draw(STATUS | {"verdicts": {}, "pending": None})
    assert "champion" in capsys.readouterr().out


@pytest.mark.parametrize(
    "show",
    [lambda: output.print_table(("a", "b"), []), lambda: output.print_table(("a",), [("",)], "t")],
)
def test_a_table_may_be_empty(show: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    show()
    assert "a" in capsys.readouterr().out
