"""Opens a device: its keys, its release, its files, its scorer and its uploads."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.device.clock import DeviceClock, wall_ms
from stream_scorer.edge.device.decide import RecordDecider
from stream_scorer.edge.device.recovery import DeviceBeginning, open_state
from stream_scorer.edge.device.release import DeviceRelease, load_release
from stream_scorer.edge.device.scorer import DeviceScorer
from stream_scorer.edge.device.state import LOG, DeviceFiles, DeviceState, FolderLock
from stream_scorer.edge.device.upload import UploadClient, Uploader
from stream_scorer.edge.files.export_folder import SCHEMAS, STATE, TERMINALS
from stream_scorer.edge.files.frames import LogIdentity
from stream_scorer.edge.files.seed import StateSeed, TerminalRows
from stream_scorer.edge.run.https_upload import https_upload
from stream_scorer.edge.run.keys import KeyFiles, named_device
from stream_scorer.edge.run.revocation import obey
from stream_scorer.errors import EdgeError, StreamScorerError
from stream_scorer.hardening.settings_check import refuse_unsafe_device
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.deployment import plan_trust
from stream_scorer.serving.decisions.records import RecordMaker
from stream_scorer.settings import Settings

CURRENT: Final = "current"
"""Link in ``edge.directory`` to the release that decides."""


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """How a device is started.

    Attributes:
        release: The release; None: ``current`` in ``edge.directory``.
        accept_cold: Whether features may decide whose history is incomplete.
        accept_gap: Whether to continue although the log ends before a row that was uploaded.
        notice: As in ``DeviceBeginning``.
    """

    release: Path | None = None
    accept_cold: bool = False
    accept_gap: bool = False
    notice: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Device:
    """A device that decides.

    Attributes:
        release: What it decides with.
        state: Its files and its history.
        scorer: Decides.
        maker: Encodes requests.
        uploader: Uploads rows; None: the settings ask for none.
    """

    release: DeviceRelease
    state: DeviceState
    scorer: DeviceScorer
    maker: RecordMaker
    uploader: Uploader | None

    @property
    def failure(self) -> StreamScorerError | None:
        """Why the process must end; None: it need not."""
        if self.uploader is not None and self.uploader.failure is not None:
            return self.uploader.failure
        found = self.scorer.failure
        if found is None or isinstance(found, StreamScorerError):
            return found
        return EdgeError(f"the device cannot write its log: {found}", "start it again")


@contextmanager
def opened_device(settings: Settings, options: DeviceOptions) -> Iterator[Device]:
    """Open a device until the block ends.

    Raises:
        EdgeError: Its files are damaged, do not fit together, or do not fit the release.
        SettingsError: A setting or a key is wrong.
        StreamScorerError: The release is refused; see the tree in ``errors``.
    """
    name, edge = named_device(settings), settings.edge
    refuse_unsafe_device(settings)
    with ExitStack() as stack:
        stack.enter_context(FolderLock(edge.directory))
        keys = KeyFiles.of(settings)
        signing, cipher = keys.signing_key(), keys.cipher()
        release = loaded_release(settings, options)
        client = upload_client(settings)
        if client is not None:
            stack.callback(client.close)
        clock = DeviceClock(wall_ms)
        begin = DeviceBeginning(
            clock(), _seed(settings, keys), options.accept_cold, options.accept_gap,
            _progress(options, client), options.notice,
        )  # fmt: skip
        state = open_state(
            DeviceFiles(edge.directory, cipher, name, edge.log_bytes_most),
            release.model.features,
            LogIdentity(name, release.content_hash, release.plan_sha256), begin,
        )  # fmt: skip
        _forget_seed(edge.directory)
        # Until the scorer has them.
        files = stack.enter_context(ExitStack())
        files.callback(state.close)
        maker = RecordMaker(
            release.schemas, settings.serving.decisions, release.plan,
            settings.kafka.topics.transactions, release.schemas.directory,
        )  # fmt: skip
        decider = RecordDecider(release, state.history)
        decider.warm_up(maker.made_up(), clock())
        files.pop_all()
        scorer = stack.enter_context(
            DeviceScorer(
                state, decider, signing, DeviceClock(wall_ms, state.history.noted),
                rows_most=edge.outbox_rows_most, bytes_most=edge.outbox_bytes_most,
            )
        )  # fmt: skip
        uploader = None
        if client is not None:
            uploader = Uploader(state.outbox, name, client, edge.upload_rows)
            stack.enter_context(uploader)
            scorer.when_added(uploader.wake)
            uploader.start()
        yield Device(release, state, scorer, maker, uploader)


def loaded_release(settings: Settings, options: DeviceOptions) -> DeviceRelease:
    """Load the release that decides, with the schemas and terminals that the device has.

    Raises:
        EdgeError: There is no release, or it is refused.
        ModelError: The bundle is refused.
        SettingsError: A setting or the plan is refused.
    """
    directory = settings.edge.directory
    schemas, terminals = directory / SCHEMAS, directory / TERMINALS
    rows = TerminalRows.unpacked(terminals.read_bytes()).table() if terminals.exists() else None
    return load_release(
        release_folder(settings, options),
        schemas if schemas.is_dir() else settings.registry.directory,
        trust_of(settings.models), plan_trust(settings), rows,
    )  # fmt: skip


def release_folder(settings: Settings, options: DeviceOptions) -> Path:
    """Return the folder of the release that decides.

    Raises:
        EdgeError: There is none.
    """
    if options.release is not None:
        return options.release
    current = settings.edge.directory / CURRENT
    if not current.is_dir():
        raise EdgeError(
            f"{settings.edge.directory}: has no release",
            "install an export of the target `device`: stream-scorer edge install FOLDER",
        )
    # What an update puts in its place later is not this release.
    return current.resolve()


def upload_client(settings: Settings) -> UploadClient | None:
    """Return what publishes the device's rows; None: nothing does.

    Raises:
        SettingsError: A key or a certificate cannot be read.
    """
    if settings.edge.upload == "none":
        return None
    if settings.edge.upload == "kafka":
        from stream_scorer.edge.run.kafka_upload import kafka_upload  # noqa: PLC0415 Kafka's clients load slowly

        return kafka_upload(settings)

    def revoked(document: Mapping[str, Any]) -> None:
        obey(document, settings)

    return https_upload(settings, revoked)


def _seed(settings: Settings, keys: KeyFiles) -> StateSeed | None:
    """Return what the device was provisioned with; None: nothing.

    Raises:
        EdgeError: It is damaged, or for another device.
        SettingsError: The key cannot be read.
    """
    directory = settings.edge.directory
    path = directory / STATE
    if (directory / LOG).exists() or not path.exists():
        return None
    purpose = StateSeed.purpose(named_device(settings))
    return StateSeed.unpacked(keys.sealing_key().open(path.read_bytes(), purpose))


def _forget_seed(directory: Path) -> None:
    """Delete what the device was provisioned with: the log has it now, under the state key.

    So a revocation, which deletes that key, leaves no history that the sealing key still opens.
    """
    with suppress(OSError):  # the next start tries again
        (directory / STATE).unlink(missing_ok=True)


def _progress(options: DeviceOptions, client: UploadClient | None) -> EdgeProgress:
    """Return up to which row the device's rows are published, where that must be known.

    Raises:
        UnavailableError: There is no answer.
    """
    return client.progress() if options.accept_gap and client is not None else EdgeProgress()
