"""The settings of ``/v2``."""

from pydantic import Field

from stream_scorer.setting_types import SettingsGroup


class Inference(SettingsGroup):
    """``/v2``: scores of feature vectors, by the Open Inference Protocol."""

    models: tuple[str, ...] = Field(
        (),
        description="bundles that answer, as `NAME:VERSION`, or `NAME` for its highest version; "
        "`--model` replaces them; without either, `/v2` is not served",
        examples=[["fraud:1.1.1"]],
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
        4 * 1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="bytes of a request, also over gRPC",
    )
