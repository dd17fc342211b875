"""A revocation that an operator has signed: the device can prove it, and erases its history."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from stream_scorer.edge.files.export_folder import STATE
from stream_scorer.edge.registry.contract import DeviceRegistration
from stream_scorer.edge.registry.registration import RegistrationRecord
from stream_scorer.edge.run.keys import KeyFiles
from stream_scorer.errors import EdgeRevokedError
from stream_scorer.security.keys import read_trusted
from stream_scorer.settings import Settings

_FIELDS: Final = {"kind": str, "name": str, "number": int, "at": int, "key_id": str, "body": str}


def signed_revocation(document: Mapping[str, Any], settings: Settings) -> DeviceRegistration | None:
    """Return the registration in a problem of the API, if it proves that the device is revoked.

    Args:
        document: The problem.
        settings: The device, and the operators' keys. Without keys, nothing is proven.

    Raises:
        SettingsError: A key cannot be read.
    """
    fields = document.get("registration")
    trusted = read_trusted(settings.edge.trusted_keys, "edge.trusted_keys")
    if not isinstance(fields, dict):
        return None
    own = {name: fields.get(name) for name in _FIELDS}
    if any(type(own[name]) is not kind for name, kind in _FIELDS.items()):
        return None
    try:
        signature = base64.b64decode(fields["signature"], validate=True)
        found = RegistrationRecord(**own, signature=signature).registration(trusted)  # type: ignore[arg-type]
    except (KeyError, TypeError, binascii.Error, ValueError):
        return None
    if not isinstance(found, DeviceRegistration) or found.device != settings.edge.device:
        return None
    return found if found.revoked_after is not None else None


def obey(document: Mapping[str, Any], settings: Settings) -> None:
    """Erase the device's state key if an operator has revoked the device.

    A problem without an operator's signature only stops the uploads: anyone who can pose as the
    server could send it.

    Raises:
        EdgeRevokedError: The device is revoked, and its log and outbox can no longer be read.
        SettingsError: A key of an operator cannot be read.
    """
    found = signed_revocation(document, settings)
    if found is None:
        return
    files = KeyFiles.of(settings)
    try:
        files.erase_state()
        # Of a device that has never run.
        (settings.edge.directory / STATE).unlink(missing_ok=True)
        erased = "its state key is deleted"
    except OSError as error:
        erased = f"its state key {files.state} cannot be deleted ({error.strerror}): delete it"
    raise EdgeRevokedError(
        f"device {settings.edge.device}: an operator has revoked it after row "
        f"{found.revoked_after}; {erased}",
        "make a new device: edge init",
    )
