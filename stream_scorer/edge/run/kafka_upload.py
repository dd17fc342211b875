"""Publishes a device's rows directly, without the API, under the same transactional id."""

from collections.abc import Sequence
from contextlib import ExitStack

from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow, PublishedRows
from stream_scorer.edge.device.upload import RowsRefused
from stream_scorer.edge.files.export_folder import EXPORT, KAFKA, upload_names
from stream_scorer.edge.run.keys import named_device
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, UploadRefused, producer_maker
from stream_scorer.errors import SettingsError
from stream_scorer.registry.sources import open_registry
from stream_scorer.security.canonical_json import parse
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener


class KafkaUpload:
    """Publishes rows through a publisher; see ``edge.device.upload.UploadClient``.

    Args:
        device: The device.
        publisher: Publishes.
        stack: Closes the connections.
    """

    def __init__(self, device: str, publisher: EdgePublisher, stack: ExitStack) -> None:
        self._device = device
        self._publisher = publisher
        self._stack = stack

    def progress(self) -> EdgeProgress:
        """Return up to which row the device's rows are published."""
        return self._publisher.progress(self._device)

    def send(self, rows: Sequence[EdgeRow]) -> PublishedRows:
        """Publish rows."""
        try:
            return self._publisher.publish(self._device, rows)
        except UploadRefused as error:
            large = error.kind == "large"
            raise RowsRefused("forbidden" if large else "behind", str(error)) from error

    def interrupt(self) -> None:
        """Do nothing: a transaction takes its time limit."""

    def close(self) -> None:
        """Close the connections."""
        self._stack.close()


class _Opening:
    """Connects at the first use: a device starts without a network."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._open: KafkaUpload | None = None

    def _opened(self) -> KafkaUpload:
        if self._open is None:
            self._open = _connected(self._settings, self._listener)
        return self._open

    def progress(self) -> EdgeProgress:
        return self._opened().progress()

    def send(self, rows: Sequence[EdgeRow]) -> PublishedRows:
        return self._opened().send(rows)

    def interrupt(self) -> None:
        """Do nothing; see :class:`KafkaUpload`."""

    def close(self) -> None:
        if self._open is not None:
            self._open.close()


def kafka_upload(settings: Settings, listener: Listener = lambda _: None) -> _Opening:
    """Return what publishes the device's rows by the settings' cluster.

    Raises:
        SettingsError: The group or a topic is not that of the export. A device that publishes under
            another transactional id than the API, or notes its progress elsewhere, could publish
            its rows twice.
    """
    path = settings.edge.directory / EXPORT
    try:
        document = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"edge.upload is kafka: {path} does not name the group and the topics of the API",
            "install an export: stream-scorer edge install FOLDER",
        ) from error
    told, own = document.get(KAFKA), upload_names(settings.kafka)
    told = told if isinstance(told, dict) else {}
    for name, value in own.items():
        if told.get(name) != value:
            raise SettingsError(
                f"edge.upload is kafka: kafka.{name} is {value!a}, and {told.get(name)!a} in the "
                "device's export",
                "set it as the API has it, or install an export with these settings",
            )
    return _Opening(settings, listener)


def _connected(settings: Settings, listener: Listener) -> KafkaUpload:
    kafka, schemas = settings.kafka, open_registry(settings.registry)
    with ExitStack() as stack:
        progress = ProgressTopic(settings, schemas, listener)
        stack.callback(progress.close)
        publisher = EdgePublisher(
            kafka.topics.transactions, progress, producer_maker(kafka, listener)
        )
        stack.callback(publisher.close)
        return KafkaUpload(named_device(settings), publisher, stack.pop_all())
