"""Finds what is unsafe in the clients file of the API."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from stream_scorer.errors import SettingsError
from stream_scorer.hardening.settings_check import Finding
from stream_scorer.security.clients_file import load_clients

_KEY_DAYS_MOST: Final = 365
_FILE: Final = "serving.access.clients_file"


def clients_findings(path: Path | None, now: datetime | None = None) -> Iterator[Finding]:
    """Yield what is unsafe in a clients file.

    Args:
        path: The file; None: no file is configured, and there are no findings.
        now: The time by which keys are old; None: the current one.
    """
    if path is None:
        return
    now = now or datetime.now(UTC)
    try:
        table, _ = load_clients(path)
    except SettingsError as error:
        yield Finding(_FILE, error.what, error.fix)
        return
    for name, client in sorted(table.clients.items()):
        if client.disabled:
            continue
        if "admin" in client.scopes and client.expires is None:
            yield Finding(
                _FILE, f"client {name} has the scope admin and never expires",
                "set expires, or give it the scopes that it needs",
            )  # fmt: skip
        for key in client.keys:
            if key.expires is None and now - key.created > timedelta(days=_KEY_DAYS_MOST):
                yield Finding(
                    _FILE, f"client {name}: the key {key.id} is over {_KEY_DAYS_MOST} days old",
                    f"replace it: stream-scorer clients rotate {name}",
                )  # fmt: skip
