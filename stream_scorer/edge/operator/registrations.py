"""The commands that change the registry of devices: each is recorded in the audit log first."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.registry.contract import (
    CUSTOMERS_MOST,
    TERMINALS_MOST,
    DeviceRegistration,
    RegisteredKey,
    ReleaseRegistration,
    packed_customers,
)
from stream_scorer.edge.registry.registration import (
    BODY_BYTES_MOST,
    DEVICE,
    RELEASE,
    Registration,
    registered,
)
from stream_scorer.edge.registry.registry import LOOK_SECONDS, open_edge_registry
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.loop.control_topic import append
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.keys import key_id, read_trusted
from stream_scorer.settings import Settings

_FILE_BYTES_MOST: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeviceScope:
    """For whom and where a device may decide.

    Attributes:
        customers: Ids of customers; empty: for everybody. None: as it is registered, and for
            everybody if it is not.
        terminals: Ids of terminals; likewise.
    """

    customers: Sequence[str] | None = None
    terminals: Sequence[str] | None = None


class RegistryWriter:
    """Changes the registry of devices; a context manager.

    Args:
        settings: The cluster, the operators' keys and the audit log.
        operator: The key that signs.

    Raises:
        SettingsError: The key is not one of ``edge.trusted_keys``, or the topic does not exist.
        UnavailableError: The broker or the registry does not answer.
    """

    def __init__(self, settings: Settings, operator: Ed25519PrivateKey) -> None:
        self._settings = settings
        self._operator = operator
        self._topic = settings.kafka.topics.edge_registry
        self._schemas = open_registry(settings.registry)
        schema = reader_schema("edge-registration.v1", settings.registry.directory)
        self._codec = RecordCodec(self._schemas.id_for(f"{self._topic}-value", schema), schema)
        self._audit = open_audit(settings.audit)
        signer = key_id(operator.public_key())
        if signer not in read_trusted(settings.edge.trusted_keys, "edge.trusted_keys"):
            raise SettingsError(
                f"the key {signer} is not in edge.trusted_keys",
                "sign with an operator's key; scorers and API need the same setting",
            )
        self._registry = open_edge_registry(settings, self._schemas)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._registry.close()

    def device(self, name: str) -> DeviceRegistration | None:
        """Return a device's registration; None if there is none."""
        known = self._registry.known(DEVICE, name)
        found = None if known is None else known.registration
        return found if isinstance(found, DeviceRegistration) else None

    def provision(
        self, request: DeviceRequest, scope: DeviceScope, from_row: int | None, reason: str
    ) -> DeviceRegistration:
        """Register a device, or change its registration.

        Args:
            request: The device's.
            scope: For whom and where it may decide.
            from_row: The first row that a new key of a known device signs.
            reason: Why, for people.

        Raises:
            SettingsError: The device has another key, and ``from_row`` is not given; or it is
                revoked, or the scope is too large.
            UnavailableError: The broker does not answer.
        """
        before = self.device(request.device)
        if before is not None and before.revoked_after is not None:
            raise SettingsError(
                f"device {request.device}: is revoked", "provision it under another name"
            )
        try:
            registration = DeviceRegistration(
                device=request.device,
                keys=_keys(before, request, from_row),
                sealing=base64.b64encode(request.sealing_key).decode(),
                customers=_customers(before, scope),
                terminals=_terminals(before, scope),
                reason=reason,
            )
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = "".join(f"{part}: " for part in first["loc"][:1])
            raise SettingsError(
                f"device {request.device}: {where}{first['msg'].removeprefix('Value error, ')}",
                f"a scope has at most {CUSTOMERS_MOST:,} customers and {TERMINALS_MOST:,} "
                "terminals; keys follow each other by --from-row",
            ) from None
        self._write(registration)
        return registration

    def allow(self, manifest: Manifest, reason: str) -> ReleaseRegistration:
        """Register a bundle that devices may decide with; nothing if it is registered.

        Raises:
            UnavailableError: The broker does not answer.
        """
        registration = ReleaseRegistration(
            label=manifest.label, content_hash=manifest.content_hash, engine=manifest.engine,
            features=len(manifest.features), reason=reason,
        )  # fmt: skip
        known = self._registry.known(RELEASE, manifest.label)
        if (
            known is None
            or known.registration.model_copy(update={"reason": reason}) != registration
        ):
            self._write(registration)
        return registration

    def revoke(self, device: str, after: int | None, reason: str) -> DeviceRegistration:
        """Refuse a device's rows after a number.

        Args:
            device: The device.
            after: The last row that counts; None: the last one that is published now.
            reason: Why, for people.

        Raises:
            SettingsError: There is no such device.
            UnavailableError: The broker does not answer.
        """
        known = self.device(device)
        if known is None:
            raise SettingsError(f"device {device}: is not registered", "see its name: edge report")
        if after is None:
            progress = ProgressTopic(self._settings, self._schemas)
            try:
                after = progress.newest(device).sequence
            finally:
                progress.close()
        registration = known.model_copy(update={"revoked_after": after, "reason": reason})
        self._write(registration)
        return registration

    def wait_until_known(self) -> None:
        """Wait until every process may look for what was written.

        A process looks for an unknown name once in this time. So no row of a device is refused that
        it sends after this.
        """
        time.sleep(LOOK_SECONDS)

    def _write(self, registration: Registration) -> None:
        kind, name = RELEASE, ""
        if isinstance(registration, DeviceRegistration):
            kind, name = DEVICE, registration.device
        else:
            name = registration.label
        known = self._registry.known(kind, name)
        number = 1 if known is None else known.record.number + 1
        at = time.time_ns() // 1_000_000
        record = registered(registration, number, at, self._operator)
        if len(record.body) > BODY_BYTES_MOST:
            raise SettingsError(
                f"{kind} {name}: its registration has more than {BODY_BYTES_MOST:,} bytes",
                "give it fewer customers or terminals",
            )
        fields: dict[str, Any] = {
            "kind": kind, "name": name, "number": number, "at": at, "key_id": record.key_id,
            "body": record.body, "signature": record.signature,
        }  # fmt: skip
        details = {"number": number, "revoked_after": getattr(registration, "revoked_after", None)}
        self._audit.record(f"edge.{kind}", name, details, f"key:{record.key_id}")
        append(self._settings.kafka, self._topic, self._codec.encode(fields), record.key)
        self._registry.catch_up()
        known = self._registry.known(kind, name)
        if known is None or known.record != record:
            raise UnavailableError(
                f"{kind} {name}: another operator changed it at the same time",
                "give the command again if it is still right",
            )


def _customers(before: DeviceRegistration | None, scope: DeviceScope) -> str:
    if scope.customers is None and before is not None:
        return before.customers
    return packed_customers(list(scope.customers or ()))


def _terminals(before: DeviceRegistration | None, scope: DeviceScope) -> tuple[str, ...]:
    if scope.terminals is None and before is not None:
        return before.terminals
    return tuple(scope.terminals or ())


def _keys(
    before: DeviceRegistration | None, request: DeviceRequest, from_row: int | None
) -> tuple[RegisteredKey, ...]:
    """Return a device's keys.

    Raises:
        SettingsError: The request has another key, and ``from_row`` is not given.
    """
    public = base64.b64encode(request.signing_key).decode()
    if before is None:
        return (RegisteredKey(public=public),)
    if any(key.public == public for key in before.keys):
        return before.keys
    if from_row is None:
        raise SettingsError(
            f"device {request.device}: is registered with another key",
            "give --from-row N, the first row that the new key signs, or choose another name",
        )
    return (*before.keys, RegisteredKey(public=public, from_sequence=from_row))


def read_request(path: Path, device: str = "") -> DeviceRequest:
    """Read a device's request.

    Args:
        path: The file.
        device: The device that it must be of; empty: any.

    Raises:
        SettingsError: It cannot be read, or is of another device.
    """
    try:
        request = DeviceRequest.from_json(_read(path))
    except ValueError as error:
        raise SettingsError(f"{path}: {error}", "make it again: stream-scorer edge init") from None
    if device and request.device != device:
        raise SettingsError(f"{path}: is of the device {request.device}", "name that device")
    return request


def read_ids(path: Path) -> list[str]:
    """Read ids from a file, one a line; blank lines are left out.

    Raises:
        SettingsError: It cannot be read, is not UTF-8, or has no id: none would mean all.
    """
    try:
        found = [line.strip() for line in _read(path).decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8", "give one id a line") from None
    if not found:
        raise SettingsError(f"{path}: has no id", "give one id a line, or leave the option out")
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MOST + 1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "name a file that can be read") from None
    if len(data) > _FILE_BYTES_MOST:
        raise SettingsError(
            f"{path}: has more than {_FILE_BYTES_MOST:,} bytes", "name another file"
        )
    return data
