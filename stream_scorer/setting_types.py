"""The base of all groups of settings, and types that several groups use."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
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
