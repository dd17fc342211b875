"""The settings of ``stream-scorer serve``."""

from pydantic import Field

from stream_scorer.setting_types import Port, SettingsGroup


class Access(SettingsGroup):
    """Who may ask, and how often."""


class Decisions(SettingsGroup):
    """``/v1/decisions``: decisions in the call."""


class Inference(SettingsGroup):
    """``/v2``: scores of feature vectors, by the Open Inference Protocol."""

    models: tuple[str, ...] = Field(
        (),
        description="bundles that answer, as `NAME:VERSION`, or `NAME` for its highest version; "
        "empty: the deployed ones",
        examples=[["fraud:1.1.0"]],
    )
    concurrent: int = Field(
        128,
        ge=1,
        le=65_536,
        description="requests at the same time; a further one is refused with 503",
    )
    rows_max: int = Field(
        4096, ge=1, le=65_536, description="rows of a request, and of several that are joined"
    )
    body_bytes_max: int = Field(
        4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="bytes of a request"
    )


class Serving(SettingsGroup):
    """The API."""

    host: str = Field("127.0.0.1", description="address of the API")
    port: Port = Field(8080, description="port of the API; 0 picks a free one")
    access: Access = Access()
    decisions: Decisions = Decisions()
    inference: Inference = Inference()
