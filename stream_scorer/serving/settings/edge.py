"""The settings of ``/v1/edge``."""

from pydantic import Field

from stream_scorer.setting_types import SettingsGroup


class EdgeApi(SettingsGroup):
    """``/v1/edge``: devices upload what they decided."""

    enabled: bool = Field(default=False, description="whether the API takes rows of devices")
    producers_most: int = Field(
        64,
        ge=1,
        le=10_000,
        description="devices whose Kafka producers are open at the same time; the one that was "
        "idle longest is closed",
    )
    body_bytes_max: int = Field(
        8_388_608, ge=65_536, le=67_108_864, description="maximum bytes of an upload's body"
    )
    rows_most: int = Field(1_000, ge=1, le=10_000, description="maximum rows of an upload")
