"""A device's keys: made by ``edge init``, read by ``edge run``."""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.durable_files import PRIVATE, replace_file, sync_folder, write_new
from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.files.cipher import KEY_BYTES, Cipher, read_state_key
from stream_scorer.errors import SettingsError
from stream_scorer.security.keys import generate, read_private
from stream_scorer.security.sealing import SealingKey, generate_sealing, read_sealing
from stream_scorer.settings import Settings

_SIGNING, _SEALING, _STATE = "signing.key", "sealing.key", "state.key"


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where a device's keys are.

    Attributes:
        signing: Signs rows.
        sealing: Opens what operators seal to the device.
        state: Encrypts log and outbox.
    """

    signing: Path
    sealing: Path
    state: Path

    @classmethod
    def of(cls, settings: Settings) -> "KeyFiles":
        """Return those of the settings."""
        edge = settings.edge
        return cls(
            edge.signing_key or edge.directory / _SIGNING,
            edge.sealing_key or edge.directory / _SEALING,
            edge.state_key_file or edge.directory / _STATE,
        )

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the key that signs rows.

        Raises:
            SettingsError: It cannot be read.
        """
        return read_private(self.signing)

    def cipher(self) -> Cipher:
        """Return what encrypts log and outbox.

        Raises:
            EdgeError: The file is not a key.
            SettingsError: It cannot be read.
        """
        return Cipher(read_state_key(self.state))

    def sealing_key(self) -> SealingKey:
        """Return the key that opens what is sealed to the device.

        Raises:
            SettingsError: It cannot be read.
        """
        return read_sealing(self.sealing)

    def erase_state(self) -> None:
        """Delete the key that encrypts log and outbox, so that no one can read them again.

        Raises:
            OSError: It cannot be deleted.
        """
        # A disk may keep old blocks; on most, this overwrites the key in its place.
        with self.state.open("r+b") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        self.state.unlink()
        sync_folder(self.state.parent)


@dataclass(frozen=True, slots=True)
class InitReport:
    """What ``edge init`` has made.

    Attributes:
        device: The device.
        directory: Its folder.
        request: The file for the operator.
    """

    device: str
    directory: Path
    request: Path


def init_device(settings: Settings) -> InitReport:
    """Make a device's folder and keys, and the request for the operator.

    Raises:
        SettingsError: ``edge.device`` is not set, a key exists already, or a file cannot be
            written.
    """
    device, folder = named_device(settings), settings.edge.directory
    files = KeyFiles.of(settings)
    request = folder / f"{device}.request.json"
    _refuse_keys(files, folder, request)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        signing = generate(files.signing)
        sealing = generate_sealing(files.sealing)
        write_new(files.state, os.urandom(KEY_BYTES), PRIVATE)
        public = read_private(signing.private).public_key().public_bytes_raw()
        # Last, and in one step: where it is, the keys are complete.
        replace_file(request, DeviceRequest(device, public, sealing.public).to_json(), 0o644)
    except OSError as error:
        raise SettingsError(
            f"edge.directory {folder}: {error.strerror}", "name a folder of this user"
        ) from error
    return InitReport(device, folder, request)


def _refuse_keys(files: KeyFiles, folder: Path, request: Path) -> None:
    """Refuse to make keys where there are some.

    Raises:
        SettingsError: There are.
    """
    public = files.signing.with_name(files.signing.name + ".pub")
    paths = (files.signing, public, files.sealing, files.state)
    found = [path for path in paths if path.is_symlink() or path.exists()]
    if not found:
        return
    from stream_scorer.edge.device.state import LOG  # noqa: PLC0415 loads slowly

    if request.exists() or (folder / LOG).exists():
        raise SettingsError(
            f"key {found[0]}: exists already", "a device is made once; name another edge.directory"
        )
    raise SettingsError(
        f"key {found[0]}: exists already, and {request} does not: an `edge init` was stopped, or "
        "the request was moved away",
        f"if no operator has the request, delete {', '.join(map(str, found))}, and repeat",
    )


def named_device(settings: Settings) -> str:
    """Return the device's name.

    Raises:
        SettingsError: It is not set.
    """
    if not settings.edge.device:
        raise SettingsError("edge.device: is empty", "name the device: --device NAME")
    return settings.edge.device
