"""``edge provision``: the releases, the device, and its client of the API."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.operator.registrations import DeviceScope, RegistryWriter
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.client_changes import ClientChanges
from stream_scorer.security.clients_file import load_clients
from stream_scorer.settings import Settings

_SCOPE = "edge"


@dataclass(frozen=True, slots=True)
class ProvisionedDevice:
    """The result of a provisioning.

    Attributes:
        device: The device.
        keys: How many keys it has.
        releases: The releases that were named.
        client: Its client of the API; empty: no clients file is set.
        api_key: The key of a new client; empty: the client was there.
    """

    device: str
    keys: int
    releases: tuple[str, ...]
    client: str
    api_key: str


def provision(
    settings: Settings, writer: RegistryWriter, request: DeviceRequest, scope: DeviceScope,
    releases: Sequence[str], from_row: int | None, reason: str,
) -> ProvisionedDevice:  # fmt: skip
    """Register a device and releases, and make the device a client of the API.

    Args:
        settings: The model store, and the clients file.
        writer: Changes the registry of devices.
        request: The device's.
        scope: For whom and where it may decide.
        releases: ``NAME:VERSION`` of bundles; each is verified and loaded first.
        from_row: The first row that a new key of a known device signs.
        reason: Why, for people.

    Raises:
        ModelError: A bundle is refused.
        SettingsError: The device cannot be registered so, or a bundle is not in the store.
        UnavailableError: The broker or the store does not answer.
    """
    # All of them before the first change.
    _refuse_other_client(settings, request.device)
    allowed = [_manifest(settings, label) for label in releases]
    # The device first: if it is refused, no release is allowed for it.
    registration = writer.provision(request, scope, from_row, reason)
    for manifest in allowed:
        writer.allow(manifest, reason)
    client, key = _client(settings, request.device)
    writer.wait_until_known()
    labels = tuple(manifest.label for manifest in allowed)
    return ProvisionedDevice(request.device, len(registration.keys), labels, client, key)


def _manifest(settings: Settings, label: str) -> Manifest:
    store, trust = open_store(settings.models), trust_of(settings.models)
    return load_bundle(find(store, label), trust).manifest


def _refuse_other_client(settings: Settings, device: str) -> None:
    """Refuse a device with the name of a client that may not upload.

    Raises:
        SettingsError: There is one.
    """
    path = settings.serving.access.clients_file
    known = {} if path is None or not path.exists() else load_clients(path)[0].clients
    if device in known and _SCOPE not in known[device].scopes:
        raise SettingsError(
            f"client {device}: is there already, without the scope {_SCOPE}",
            "choose another name for the device, or remove the client: clients remove",
        )


def _client(settings: Settings, device: str) -> tuple[str, str]:
    """Return the device's client of the API, and its key if it is new; empty: none."""
    path = settings.serving.access.clients_file
    if path is None:
        return "", ""
    if path.exists() and device in load_clients(path)[0].clients:
        return device, ""
    made = ClientChanges(path, open_audit(settings.audit)).add(device, scopes=[_SCOPE])
    return device, "" if made is None else made.text
