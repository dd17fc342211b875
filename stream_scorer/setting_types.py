"""The base of all groups of settings, and types that several groups use."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]

DAY_MS = 86_400_000


def _without_control_characters(name: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("it has a control character")
    return name


GroupName = Annotated[
    str, Field(min_length=1, max_length=8_000), AfterValidator(_without_control_characters)
]
"""A consumer group's name, or a pattern of names. Kafka takes 32,767 bytes."""
Port = Annotated[int, Field(ge=0, le=65_535)]


class SettingsGroup(BaseModel):
    """Settings of one subject: immutable, with unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a truth value for a number; environment variables are text, and unaffected."""
        name = info.field_name or ""
        if isinstance(value, bool) and cls.model_fields[name].annotation in (int, float):
            raise ValueError("Input should be a number")
        return value
