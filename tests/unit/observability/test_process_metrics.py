"""Metrics of the process itself."""

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stream_scorer.observability.process_metrics import add_process_metrics
from stream_scorer.settings import Settings
from tests.support.serving.self_signed import certificate

EXPIRES = "stream_scorer_certificate_expires_time_seconds"
DAY = 86_400


def test_cpu_memory_files_and_collections_are_there() -> None:
    registry = CollectorRegistry()
    add_process_metrics(registry, Settings())
    text = generate_latest(registry).decode()
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "process_start_time_seconds", "python_gc_collections_total"):  # fmt: skip
        assert f"\n{name}" in text
    assert f"\n{EXPIRES}" not in text


def test_the_certificate_is_read_at_each_scrape(tmp_path: Path) -> None:
    path, key = certificate(tmp_path)
    registry = CollectorRegistry()
    http = {"tls_certificate": path, "tls_key": key}
    add_process_metrics(registry, Settings.model_validate({"http": http}))
    labels = {"file": str(path)}
    assert registry.get_sample_value(EXPIRES, labels) == pytest.approx(time.time() + DAY, abs=60)
    path.write_text("half of a certificate")
    assert registry.get_sample_value(EXPIRES, labels) is None
    path.unlink()
    assert registry.get_sample_value(EXPIRES, labels) is None


def test_the_disks_that_are_written_are_shown(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    settings = Settings.model_validate(
        {
            "audit": {"path": tmp_path / "audit.log"},
            "logging": {"journal": "-"},
            "models": {"cache": tmp_path / "missing"},
        }
    )
    add_process_metrics(registry, settings)
    labels = {"path": str(tmp_path)}
    free = registry.get_sample_value("stream_scorer_disk_free_bytes", labels)
    size = registry.get_sample_value("stream_scorer_disk_size_bytes", labels)
    assert free is not None
    assert size is not None
    assert 0 <= free <= size
    text = generate_latest(registry).decode()
    assert text.count("\nstream_scorer_disk_size_bytes{") == 1
