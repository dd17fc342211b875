"""``mlflow:models:/NAME@ALIAS`` and ``mlflow:models:/NAME/VERSION``: what a user writes."""

import re
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import SettingsError

PREFIX: Final = "mlflow:"
"""What a reference begins with, in place of a file's path."""
_MODELS: Final = "models:/"
_NAME: Final = re.compile(r"[^/@:]{1,255}")
_ALIAS: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A registered model, with exactly one of alias and version.

    Attributes:
        name: The registered model.
        alias: Such as ``champion``.
        version: Such as ``7``.
    """

    name: str
    alias: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        chosen = f"@{self.alias}" if self.version is None else f"/{self.version}"
        return f"{_MODELS}{self.name}{chosen}"


def read_reference(text: str) -> ModelReference:
    """Return the reference in a text that begins with :data:`PREFIX`.

    >>> read_reference("mlflow:models:/fraud@champion").alias
    'champion'

    Raises:
        SettingsError: It is not such a reference.
    """
    uri = text.removeprefix(PREFIX)
    if uri.startswith(_MODELS):
        name, at, chosen = uri.removeprefix(_MODELS).partition("@")
        if not at:
            name, _, chosen = name.partition("/")
        form = _ALIAS if at else _VERSION
        if _NAME.fullmatch(name) and name.isprintable() and form.fullmatch(chosen):
            return ModelReference(name, chosen) if at else ModelReference(name, version=chosen)
    raise SettingsError(
        f"model {text}: not a registered model",
        "write mlflow:models:/NAME@ALIAS or mlflow:models:/NAME/VERSION",
    )
