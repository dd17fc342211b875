"""A device as its process opens it: settings, keys and requests."""

import json
from pathlib import Path
from typing import Any

from stream_scorer.edge.run.keys import init_device
from stream_scorer.edge.run.open_device import DeviceOptions
from stream_scorer.serving.web.messages import Caller, Request
from stream_scorer.settings import Settings
from tests.support.device.device_world import DEVICE, NOW

NOBODY = Caller("", frozenset(), "open")


def device_settings(folder: Path, **edge: Any) -> Settings:
    """Return the settings of a device with keys in a folder."""
    found = Settings(edge={"directory": folder, "device": DEVICE} | edge)
    if not (folder / "state.key").exists():
        init_device(found)
    return found


def cold(release: Path | None, **options: Any) -> DeviceOptions:
    """Return how a device without a history is started."""
    return DeviceOptions(release, **({"accept_cold": True} | options))


def body(number: int, **changes: Any) -> dict[str, Any]:
    """Return a transaction as a request has it."""
    return {
        "transaction_id": f"t{number}", "event_time": NOW + number * 60_000,
        "customer_id": f"customer-{number % 50}", "terminal_id": "x",
        "amount_minor": 1_000 + number, "currency": "EUR", "channel": "POS",
    } | changes  # fmt: skip


def posted(document: Any, host: str = "127.0.0.1:8090") -> Request:
    """Return a request with a body."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Request("POST", "/v1/decisions", "", {"host": host}, data, {}, NOBODY, "id", "", "", 0.0)
