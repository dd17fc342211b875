"""Finds settings that are unsafe in production; each rule has a finding and a fix.

``mode = "production"`` refuses to run while the settings have a finding; ``security check`` lists
those of the settings and of the cluster.
"""

import ipaddress
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from stream_scorer.errors import SettingsError
from stream_scorer.nesting import parse_toml
from stream_scorer.redaction import names_secret
from stream_scorer.serving.settings.access import Access
from stream_scorer.serving.settings.api import Serving
from stream_scorer.setting_files import has_password
from stream_scorer.settings import PRODUCTION, Http, Kafka, Settings, State

NOT_IN_PRODUCTION = (
    'stream-scorer: not in production mode: set mode = "production" to refuse what is unsafe; '
    "`stream-scorer security check` lists it"
)
_SAFE_SCHEMES = {
    "", "file", "local", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "sftp", "ssh",
    "simplecache", "filecache", "blockcache",
}  # fmt: skip
"""On this machine, or encrypted by default. Others are refused: they may be plaintext."""

_LOCAL = {"", "file", "local"}
_TOKEN_SECONDS_MOST = 86_400
_TOKEN_URLS = ("sasl.oauthbearer.token.endpoint.url",)
_ENDPOINTS = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "FSSPEC_S3_ENDPOINT_URL", "STORAGE_EMULATOR_HOST",
)  # fmt: skip
"""Variables that name another address for S3 or Google Cloud Storage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is unsafe.

    Attributes:
        setting: The setting or the topic that it is about.
        problem: What is wrong, in a few words.
        fix: What to do about it.
    """

    setting: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.problem} — {self.fix}"


def refuse_unsafe(settings: Settings) -> None:
    """Refuse settings of a process that have a finding, if the mode is production.

    Raises:
        SettingsError: Names the first finding and its fix, and how many more there are.
    """
    _refuse(settings, setting_findings(settings))


def refuse_unsafe_device(settings: Settings) -> None:
    """Refuse settings of a device that have a finding, if the mode is production.

    Raises:
        SettingsError: As for :func:`refuse_unsafe`.
    """
    _refuse(settings, _of_device(settings))


def _refuse(settings: Settings, findings: Iterator[Finding]) -> None:
    if settings.mode != PRODUCTION:
        return
    found = list(findings)
    if found:
        more = f" (and {len(found) - 1} more: stream-scorer security check)" if found[1:] else ""
        raise SettingsError(
            f"mode is production: {found[0].setting}: {found[0].problem}{more}", found[0].fix
        )


def setting_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is unsafe in the settings of a process."""
    yield from _of_kafka(settings.kafka)
    registry = settings.registry
    if registry.url:
        if any(_is_plaintext(url) for url in registry.url.split(",")):
            yield Finding("registry.url", "is not encrypted", "use https://")
        if not registry.user or registry.password is None:
            yield Finding(
                "registry.user", "is empty: the registry asks for no password",
                "have the registry require one, and set registry.user and registry.password",
            )  # fmt: skip
    for name, url in (("state.url", settings.state.url), ("models.url", settings.models.url)):
        if _is_plaintext(url) or _has_plaintext_option(url):
            yield Finding(name, "is not encrypted", "use https:// or the store's own protocol")
        elif urlsplit(url).scheme not in _LOCAL:
            yield from _of_environment(name)
    yield from _of_models(settings)
    if not settings.rollout.require_signature:
        yield Finding(
            "rollout.require_signature", "is false: whoever writes to the topic commands a rollout",
            "set it to true, and rollout.operator_keys",
        )  # fmt: skip
    if settings.audit.path is None:
        yield Finding("audit.path", "is empty: no audit log is kept", "name a file")
    yield from _of_checkpoints(settings.state)
    yield from _of_endpoint(settings.http)
    yield from _of_api(settings.serving)
    yield from _of_access(settings.serving.access)


def _of_device(settings: Settings) -> Iterator[Finding]:
    """Yield what is unsafe in the settings of a device, which answers on its own machine only."""
    yield from _of_models(settings)
    yield from _of_endpoint(settings.http)
    if settings.edge.upload == "kafka":
        # Its transactional id is that of the device, whatever kafka.instance is.
        yield from (each for each in _of_kafka(settings.kafka) if each.setting != "kafka.instance")


def _of_models(settings: Settings) -> Iterator[Finding]:
    if not settings.models.require_signature:
        yield Finding(
            "models.require_signature", "is false: unsigned bundles are loaded",
            "set it to true, and models.trusted_keys",
        )  # fmt: skip


def _of_api(serving: Serving) -> Iterator[Finding]:
    has_port = serving.unix_socket is None or serving.grpc_port is not None
    if serving.tls_certificate is None and has_port and not _is_near(serving.host):
        yield Finding(
            "serving.tls_certificate",
            f"is empty, and serving.host {serving.host} is beyond loopback",
            "set serving.tls_certificate and serving.tls_key, or bind 127.0.0.1",
        )
    endpoint = serving.tracing.endpoint
    if endpoint and _is_plaintext(endpoint):
        yield Finding("serving.tracing.endpoint", "is not encrypted", "use https://, or loopback")


def _of_access(access: Access) -> Iterator[Finding]:
    if access.open_on_loopback:
        yield Finding(
            "serving.access.open_on_loopback", "is true: every program of this machine may ask",
            "make clients: stream-scorer clients add",
        )  # fmt: skip
    if access.token_issuer and access.token_lifetime_seconds > _TOKEN_SECONDS_MOST:
        yield Finding(
            "serving.access.token_lifetime_seconds",
            "accepts tokens for more than a day, and a token cannot be taken back",
            "set it to 86400 or less",
        )


def _of_checkpoints(state: State) -> Iterator[Finding]:
    if state.mac_key_file is None:
        yield Finding(
            "state.mac_key_file", "is empty: checkpoints are not authenticated", "name a key file"
        )
    elif not state.mac_required:
        yield Finding("state.mac_required", "is false: forged checkpoints are read", "remove it")


def _of_endpoint(http: Http) -> Iterator[Finding]:
    if _is_near(http.host):
        return
    if http.tls_certificate is None:
        yield Finding(
            "http.tls_certificate", f"is empty, and http.host {http.host} is beyond loopback",
            "set http.tls_certificate and http.tls_key, or bind 127.0.0.1",
        )  # fmt: skip
    if http.token is None:
        yield Finding(
            "http.token",
            "is empty: every client may read metrics and reasons",
            "set it in a secret file",
        )


def _of_kafka(kafka: Kafka) -> Iterator[Finding]:
    chosen = str(kafka.client.get("security.protocol", "plaintext"))
    far = [each for each in kafka.bootstrap.split(",") if each and not _is_near(_host(each))]
    # An address may name its own protocol.
    protocols = {address: (address.rpartition("://")[0] or chosen).upper() for address in far}
    far = [address for address, protocol in protocols.items() if not protocol.endswith("SSL")]
    if far:
        protocol = protocols[far[0]]
        yield Finding(
            "kafka.client security.protocol", f"is {protocol}: nothing is encrypted to {far[0]}",
            "set it to SSL or SASL_SSL",
        )  # fmt: skip
    yield from _of_oauth(kafka)
    if _accepts_weak_suites(str(kafka.client.get("ssl.cipher.suites", ""))):
        yield Finding(
            "kafka.client ssl.cipher.suites", "accepts suites that do not encrypt or do not verify",
            "remove it",
        )  # fmt: skip
    for option in kafka.unverified():
        yield Finding(
            f"kafka.client {option}", "switches verification of the broker off", "remove it"
        )
    if kafka.instance == "0":
        yield Finding(
            "kafka.instance", "is the default: two processes with one name fence each other",
            "give each process a stable name",
        )  # fmt: skip


def _accepts_weak_suites(suites: str) -> bool:
    """Return whether a list of cipher suites has one without encryption or certificates.

    OpenSSL itself expands the list: ``ALL:@SECLEVEL=0`` names none of them, and has them.
    """
    if not suites:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.set_ciphers(suites)
    except ssl.SSLError:
        return any(word in suites.upper() for word in ("NULL", "ADH", "AECDH"))
    # Python's stubs do not have all keys.
    accepted: list[Any] = context.get_ciphers()
    return any(each["auth"] == "auth-null" or not each["strength_bits"] for each in accepted)


def _of_oauth(kafka: Kafka) -> Iterator[Finding]:
    """Yield what is unsafe in the source of the tokens for the brokers."""
    for option in _TOKEN_URLS:
        value = kafka.client.get(option, "")
        url = str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        if _is_plaintext(url):
            yield Finding(f"kafka.client {option}", "is not encrypted", "use https://")
        elif has_password(url):
            yield Finding(
                f"kafka.client {option}", "has credentials in the URL",
                "use sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret",
            )  # fmt: skip
    unsigned = str(kafka.client.get("enable.sasl.oauthbearer.unsecure.jwt", "")).lower()
    if unsigned in {"true", "t", "1"}:
        yield Finding(
            "kafka.client enable.sasl.oauthbearer.unsecure.jwt", "makes tokens without a signature",
            "remove it",
        )  # fmt: skip


def _of_environment(setting: str) -> Iterator[Finding]:
    """Yield the variables that send a store's requests out unencrypted."""
    for name in _ENDPOINTS:
        if _is_plaintext(os.environ.get(name, "")):
            yield Finding(setting, f"is not encrypted: see {name}", f"use https:// in {name}")


def file_findings(path: Path | None) -> Iterator[Finding]:
    """Yield the secrets in a TOML file of settings."""
    table = {} if path is None else parse_toml(path.read_text())
    for group, values in table.items():
        for key in values if isinstance(values, dict) else ():
            if names_secret(key):
                yield Finding(
                    f"{group}.{key}", f"is a secret in {path}",
                    f"move it to the secret file {group}__{key}",
                )  # fmt: skip


def _host(address: str) -> str:
    return address.strip().rpartition("://")[2].rpartition(":")[0].strip("[]")


def _is_near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_plaintext_option(url: str) -> bool:
    """Whether a query sends a store's requests out unencrypted, such as ``scheme=http``."""
    for name, value in parse_qsl(urlsplit(url.strip()).query):
        plain = value.strip().lower()
        if name.lower() == "scheme" and plain == "http":
            return True
        # Without its own scheme, an endpoint has that of the store.
        endpoint = name.lower() in {"endpoint_override", "endpoint_url", "endpoint"}
        if endpoint and "://" in plain and _is_plaintext(plain):
            return True
        if name.lower() == "use_ssl" and plain in {"false", "0", "no"}:
            return True
    return False


def _is_plaintext(url: str) -> bool:
    """Whether a URL, or one of the URLs that fsspec chains with ``::``, goes out unencrypted."""
    *wrappers, last = url.strip().split("::")
    schemes = [urlsplit(each).scheme or each for each in wrappers]
    if any(scheme not in _SAFE_SCHEMES for scheme in schemes):
        return True
    parts = urlsplit(last)
    return parts.scheme not in _SAFE_SCHEMES and not _is_near(parts.hostname or "")
