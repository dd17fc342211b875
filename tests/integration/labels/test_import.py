"""Labels from a file to the topic: each once, whatever ends the import."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.errors import FencedError, SettingsError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.labels.run import LabelImportJob, import_labels
from stream_scorer.labels.send import LabelSender
from stream_scorer.settings import Kafka, Registry, Settings
from tests.support.faults.process import environment
from tests.support.labels.decisions import numbered, send_decisions

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Settings:
    return Settings(kafka=kafka_topics(kafka_settings()))


def labels_in(settings: Settings) -> list[tuple[Any, dict[str, Any]]]:
    reader = RecordReader(Registry())
    topic = settings.kafka.topics.labels
    return [(each, reader.decode(each.value())) for each in read_all(settings.kafka, topic)]


def write(path: Path, count: int, foreign: int = 0) -> Path:
    ids = [f"t{at}" for at in range(count)] + [f"x{at}" for at in range(foreign)]
    states = ["FRAUD" if at % 3 == 0 else "GENUINE" for at in range(len(ids))]
    times = pa.array([1_770_000_000_000 + at for at in range(len(ids))], pa.int64())
    pq.write_table(pa.table({"transaction_id": ids, "state": states, "label_time": times}), path)
    return path


def test_labels_are_joined_sent_once_and_reported(settings: Settings, tmp_path: Path) -> None:
    send_decisions(settings.kafka, numbered(2_000))
    job = LabelImportJob(write(tmp_path / "labels.parquet", 1_000, foreign=30), source="chargeback")
    first = import_labels(settings, job)
    assert (first.rows, first.sent, first.already_there, first.foreign) == (1_030, 1_000, 0, 30)
    assert (first.ambiguous, first.invalid) == (0, 0)
    assert first.examples["foreign"] == tuple(f"x{at}" for at in range(20))
    sent = labels_in(settings)
    assert len(sent) == 1_000
    rows = numbered(2_000)
    for message, label in sent:
        at = int(label["transaction_id"][1:])
        assert message.key() == rows.customer_id[at].encode()
        assert label["customer_id"] == rows.customer_id[at]
        assert label["event_time"].timestamp() * 1_000 == rows.event_time[at]
        assert label["label_time"].timestamp() * 1_000 == 1_770_000_000_000 + at
        assert label["state"] == ("FRAUD" if at % 3 == 0 else "GENUINE")
        assert label["is_fraud"] == (at % 3 == 0)
        assert (label["source"], label["drawn"], len(label["label_id"])) == ("chargeback", None, 32)
    again = import_labels(settings, job)
    assert (again.sent, again.already_there, again.foreign) == (0, 1_000, 30)
    assert len(labels_in(settings)) == 1_000


def test_a_strict_import_with_a_foreign_id_sends_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    send_decisions(settings.kafka, numbered(100))
    path = write(tmp_path / "labels.parquet", 100, foreign=1)
    with pytest.raises(SettingsError, match="1 foreign; nothing was sent"):
        import_labels(settings, LabelImportJob(path, strict=True))
    assert not labels_in(settings)


def test_a_topic_of_labels_in_another_format_is_refused(settings: Settings, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.mkdir()
    (plan / "plan.toml").write_text("")
    (plan / "events.toml").write_text(
        '[labels]\nformat = "json"\ntransaction_id = "id"\nis_fraud = "fraud"\n'
        'label_time = {path = "at", unit = "ms"}\n'
    )
    job = LabelImportJob(write(tmp_path / "labels.parquet", 1), plan=plan)
    with pytest.raises(SettingsError, match="labels of your own format"):
        import_labels(settings, job)


def test_a_later_import_fences_an_earlier_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_decisions(settings.kafka, numbered(400))
    path = write(tmp_path / "labels.parquet", 400)
    sends = LabelSender._send
    later: list[int] = []

    def overtaken(self: LabelSender, labels: pa.RecordBatch) -> None:
        if not later:
            later.append(-1)
            later[0] = import_labels(settings, LabelImportJob(path)).sent
        sends(self, labels)

    monkeypatch.setattr(LabelSender, "_send", overtaken)
    with pytest.raises(FencedError, match="another import"):
        import_labels(settings, LabelImportJob(path))
    assert later == [400]
    assert Counter(label["transaction_id"] for _, label in labels_in(settings)) == {
        f"t{at}": 1 for at in range(400)
    }


_SLOW = """
import os, sys, time
from stream_scorer.labels import send
sends, count = send.LabelSender._send, 0
def slow(self, labels):
    global count
    self._producer.begin()
    keys, values = send.encoded(self._encoder, labels)
    self._producer.send(send.Outgoing(self._topic, values, keys))
    count += 1
    if count == 3:
        self._producer._client.flush(10)
        print("open", flush=True)
        time.sleep(600)
    self._producer.commit()
send.LabelSender._send = slow
send.LabelSender.send_missing.__defaults__ = (1_000,)
from stream_scorer.cli.main import main
sys.argv = ["stream-scorer", "labels", "import", sys.argv[1], "--json"]
main()
"""


def test_a_killed_import_is_completed_by_the_next_one(settings: Settings, tmp_path: Path) -> None:
    send_decisions(settings.kafka, numbered(6_000))
    path = write(tmp_path / "labels.parquet", 6_000)
    with subprocess.Popen(  # noqa: S603 our own interpreter
        [sys.executable, "-c", _SLOW, str(path)],
        env={**os.environ, **environment(settings.kafka)}, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            # Two transactions are committed, and all records of a third one are on the broker.
            assert process.stdout.readline() == "open\n"
        finally:
            process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    report = import_labels(settings, LabelImportJob(path))
    assert (report.sent, report.already_there) == (4_000, 2_000)
    # The open transaction was aborted, not waited for.
    assert time.monotonic() - began < 30
    assert Counter(label["transaction_id"] for _, label in labels_in(settings)) == {
        f"t{at}": 1 for at in range(6_000)
    }


def test_the_command_prints_its_report(settings: Settings, tmp_path: Path) -> None:
    send_decisions(settings.kafka, numbered(50))
    path = write(tmp_path / "labels.parquet", 50, foreign=2)
    arguments = ["labels", "import", str(path), "--json"]
    told = CliRunner().invoke(app, arguments, env=environment(settings.kafka))
    assert told.exception is None, told.exception
    report = json.loads(told.stdout)
    assert (report["sent"], report["foreign"]) == (50, 2)
    assert report["examples"]["foreign"] == ["x0", "x1"]
