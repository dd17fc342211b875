"""The settings of ``stream-scorer serve``."""

from pydantic import Field

from stream_scorer.setting_types import Port, SettingsGroup


class Access(SettingsGroup):
    """Who may ask, and how often."""


class Decisions(SettingsGroup):
    """``/v1/decisions``: decisions in the call."""


class Inference(SettingsGroup):
    """``/v2``: scores of feature vectors, by the Open Inference Protocol."""


class Serving(SettingsGroup):
    """The API."""

    host: str = Field("127.0.0.1", description="address of the API")
    port: Port = Field(8080, description="port of the API; 0 picks a free one")
    access: Access = Access()
    decisions: Decisions = Decisions()
    inference: Inference = Inference()
