"""Insecure settings in production mode."""

from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import Case, NotThereError, Place, cases, entry

_KEY: Final = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
_SAFE: Final[dict[str, Any]] = {
    "mode": "production",
    "kafka": {
        "bootstrap": "b:9092", "instance": "scorer-1",
        "client": {"security.protocol": "SASL_SSL"},
    },
    "registry": {"url": "https://registry", "user": "me", "password": "gallop horse"},
    "models": {"require_signature": True, "trusted_keys": {"release": _KEY}},
    "rollout": {"require_signature": True, "operator_keys": {"risk": _KEY}},
    "audit": {"path": "/var/log/audit.log"},
    "state": {"mac_key_file": "/etc/stream-scorer/mac.key"},
}  # fmt: skip


def _settings(changed: dict[str, dict[str, Any]]) -> Any:
    module = entry("stream_scorer.settings")
    if "mode" not in module.Settings.model_fields:
        raise NotThereError("settings: mode")
    table = {
        group: values | changed.get(group, {}) if isinstance(values, dict) else values
        for group, values in (
            _SAFE | {group: {} for group in changed if group not in _SAFE}
        ).items()
    }
    if "mac_key_file" not in module.State.model_fields:
        table["state"].pop("mac_key_file", None)
    return module.load_settings(table)


def _with(**changed: dict[str, Any]) -> Callable[[Place], str]:
    """Start with safe settings, some of them changed."""

    def run(_: Place) -> str:
        entry("stream_scorer.hardening.settings_check", "refuse_unsafe")(_settings(changed))
        return "started"

    return run


def _client(**options: Any) -> dict[str, Any]:
    return {"client": {"security.protocol": "SSL"} | options}


_TOKENS: Final = "sasl.oauthbearer.token.endpoint.url"
_REFUSED: Final = "SettingsError: mode is production: "
CASES: Final = (
    *cases(
        "production", 18,
        ("safe settings", "production", "started", _with()),
        ("brokers in plain text", "plaintext", _REFUSED, _with(kafka={"client": {}})),
        ("passwords in plain text", "plaintext", _REFUSED,
         _with(kafka={"client": {"security.protocol": "SASL_PLAINTEXT"}})),
        ("a registry in plain text", "plaintext", _REFUSED,
         _with(registry={"url": "http://registry:8081"})),
        ("checkpoints in plain text", "plaintext", _REFUSED,
         _with(state={"url": "http://store/state"})),
        ("tokens asked for in plain text", "plaintext", _REFUSED,
         _with(kafka=_client(**{_TOKENS: "http://login.example/token"})), "is not encrypted"),
        ("tokens asked for with a password in the URL", "tokens", _REFUSED,
         _with(kafka=_client(**{_TOKENS: "https://me:hunter2@login.example/token"})),
         "has credentials"),
        ("tokens without a signature", "tokens", _REFUSED,
         _with(kafka=_client(**{"enable.sasl.oauthbearer.unsecure.jwt": "true"})), "signature"),
        ("cipher suites that do not encrypt", "tokens", _REFUSED,
         _with(kafka=_client(**{"ssl.cipher.suites": "ALL:eNULL"})), "do not encrypt"),
        ("another name for the brokers' addresses", "plaintext", "SettingsError: ",
         _with(kafka=_client(**{"metadata.broker.list": "PLAINTEXT://far:9092"})),
         "metadata.broker.list cannot stand here"),
        ("a bucket over http", "endpoints", _REFUSED,
         _with(state={"url": "s3://bucket/state?scheme=http"}), "state.url: is not encrypted"),
        ("a bucket at an http address", "endpoints", _REFUSED,
         _with(models={"url": "s3://bucket/m?endpoint_override=http%3A%2F%2Fminio%3A9000"}),
         "models.url: is not encrypted"),
        ("brokers that are not verified", "verified", _REFUSED,
         _with(kafka=_client(**{"enable.ssl.certificate.verification": False}))),
        ("host names that are not verified", "verified", _REFUSED,
         _with(kafka=_client(**{"ssl.endpoint.identification.algorithm": "none"}))),
        ("the default name of an instance", "verified", _REFUSED, _with(kafka={"instance": "0"})),
        ("a registry without a password", "registry-password", _REFUSED,
         _with(registry={"user": "", "password": None})),
        ("no audit log", "registry-password", _REFUSED, _with(audit={"path": None})),
        ("unsigned bundles", "signatures", _REFUSED, _with(models={"require_signature": False})),
        ("unsigned commands", "signatures", _REFUSED, _with(rollout={"require_signature": False})),
        ("checkpoints without a MAC", "mac-key", _REFUSED, _with(state={"mac_key_file": None})),
    ),
    Case("production: metrics beyond loopback without TLS", 18, "endpoint", _REFUSED,
         _with(http={"host": "0.0.0.0", "token": "a-long-token-of-the-operator"})),  # noqa: S104 the attack
)  # fmt: skip
