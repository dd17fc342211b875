"""Metrics of the process itself: CPU, memory, files, collections, certificate, disks."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_scorer.observability.request_metrics import ClientStatistics, RequestSeconds
from stream_scorer.settings import Settings
from stream_scorer.telemetry import CertificateSeen, DiskSeen
from stream_scorer.telemetry.event import Metric as Declared


def add_process_metrics(registry: CollectorRegistry, settings: Settings) -> None:
    """Add ``process_*``, ``python_*``, the certificate's expiry and the disks that are written.

    Args:
        registry: The registry that is scraped.
        settings: They name the certificates, and the files that processes write.
    """
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(CertificateExpiry(_certificates(settings)))
    registry.register(DiskSpace(_written(settings)))
    registry.register(RequestSeconds())
    registry.register(ClientStatistics())


def _certificates(settings: Settings) -> list[Path]:
    """Return the process's own certificates: of its servers, and for the brokers."""
    found = {settings.http.tls_certificate, settings.serving.tls_certificate}
    ours = settings.kafka.client.get("ssl.certificate.location")
    return sorted(path for path in (*found, Path(ours) if isinstance(ours, str) else None) if path)


def _written(settings: Settings) -> list[Path]:
    files = (settings.audit.path, settings.logging.journal, settings.kafka.fenced_file)
    folders = {path.parent for path in files if path is not None and path != Path("-")}
    return sorted(folders | ({settings.models.cache} if settings.models.cache else set()))


def _family(metric: Declared) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"stream_scorer_{metric.name}", metric.text, labels=metric.labels)


class CertificateExpiry(Collector):
    """Shows when certificates expire; a file is read at each scrape, as it may be replaced.

    Args:
        paths: Certificate chains, PEM; the first certificate of each counts.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)

    def describe(self) -> Iterable[Metric]:
        """Return the metric without a sample."""
        return [_family(CertificateSeen.EXPIRES)]

    def collect(self) -> Iterable[Metric]:
        """Return the times; no sample for a file that cannot be read."""
        family = _family(CertificateSeen.EXPIRES)
        for path in self._paths:
            try:
                first = x509.load_pem_x509_certificates(path.read_bytes())[0]
            except (OSError, ValueError):
                continue
            family.add_metric((str(path),), first.not_valid_after_utc.timestamp())
        return [family]


class DiskSpace(Collector):
    """Shows how much is free on the disks of folders.

    Args:
        folders: Folders in which the process writes.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return [_family(DiskSeen.FREE), _family(DiskSeen.SIZE)]

    def collect(self) -> Iterable[Metric]:
        """Return free and total bytes; no sample for a folder that does not exist."""
        free, size = _family(DiskSeen.FREE), _family(DiskSeen.SIZE)
        for folder in self._folders:
            try:
                usage = shutil.disk_usage(folder)
            except OSError:
                continue
            free.add_metric((str(folder),), float(usage.free))
            size.add_metric((str(folder),), float(usage.total))
        return [free, size]
