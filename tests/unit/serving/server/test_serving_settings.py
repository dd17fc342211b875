"""Settings of the API that do not fit together are refused."""

from typing import Any

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.settings import load_settings


@pytest.mark.parametrize(
    ("serving", "why"),
    [
        ({"tls_certificate": "c"}, "tls_certificate and tls_key together"),
        ({"tls_key": "k"}, "tls_certificate and tls_key together"),
        ({"grpc_client_ca": "a"}, "grpc_client_ca has no meaning"),
        ({"client_ca": "a"}, "client_ca has no meaning"),
        ({"grpc_port": 1, "tls_minimum": "1.3"}, "gRPC always takes TLS 1.2"),
        ({"tls_minimum": "1.1"}, "tls_minimum"),
        ({"head_bytes_max": 8_191}, "head_bytes_max"),
        ({"connections_max": 0}, "connections_max"),
        ({"port": 65_536}, "port"),
        ({"http3": True}, "unknown key"),
        ({"tracing": {"endpoint": "collector:4318"}}, "name an http or https URL"),
        ({"tracing": {"endpoint": "http://user:pass@collector"}}, "without user and password"),
        ({"tracing": {"ratio": 1.5}}, "ratio"),
    ],
)
def test_settings_that_cannot_work_are_refused(serving: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load_settings({"serving": serving})
