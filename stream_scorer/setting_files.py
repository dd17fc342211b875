"""Reads settings from files: a TOML file, and files that contain one secret each."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream_scorer.errors import SettingsError
from stream_scorer.nesting import parse_toml

_DATA = Path(__file__).parent / "_data"
_ROOT = _DATA if _DATA.is_dir() else Path(__file__).parent.parent
SCHEMAS_DIRECTORY = _ROOT / "schemas"
MODELS_DIRECTORY = _ROOT / "models"

_SECRET_OPTION = re.compile(
    r"(password|passphrase|secret|key\.pem|^sasl\.oauthbearer\.config)$", re.IGNORECASE
)
_PASSWORD = re.compile(r"://[^/\s]*@")


def secret_files(variable: str) -> dict[str, Any]:
    """Read ``GROUP__NAME`` files of a directory into a nested table.

    Args:
        variable: The environment variable that names the directory; without it, nothing is read.

    Raises:
        SettingsError: The directory or a file cannot be read, or two name one setting.
    """
    directory = os.environ.get(variable)
    if not directory:
        return {}
    if not Path(directory).is_dir():
        raise SettingsError(
            f"{variable}: {directory} is not a directory",
            "name a directory of files such as kafka__password",
        )
    table: dict[str, Any] = {}
    for path in sorted(Path(directory).iterdir()):
        # Mounted secrets have their versions next to them, with names that start with two dots.
        if path.name.startswith("..") or not path.is_file():
            continue
        *groups, name = path.name.lower().split("__")
        at: Any = table
        for group in groups:
            at = at.setdefault(group, {}) if isinstance(at, dict) else None
        if not isinstance(at, dict) or name in at:
            raise SettingsError(
                f"secret file {path}: another file names the same setting",
                "keep one of them",
            )
        at[name] = _secret(path)
    return table


def _secret(path: Path) -> str:
    try:
        return path.read_text().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(
            f"secret file {path}: {error.strerror}", "fix the file's permissions"
        ) from error
    except UnicodeDecodeError:
        # Not chained: the cause contains the secret.
        raise SettingsError(f"secret file {path}: not UTF-8 text", "write it as text") from None


def config_file(name: str | None) -> dict[str, Any]:
    """Read a TOML file; without a name, nothing.

    Raises:
        SettingsError: It cannot be read or is not TOML.
    """
    if not name:
        return {}
    try:
        table = parse_toml(Path(name).read_text())
    except OSError as error:
        raise SettingsError(f"configuration {name}: {error.strerror}", "name a file") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"configuration {name}: not TOML: {error}", "fix the line") from error
    except ValueError as error:
        raise SettingsError(f"configuration {name}: {error}", "fix the line") from error
    for setting, how in _secrets(table):
        raise SettingsError(
            f"configuration {name}: {setting} is a secret, and this file is not the place for one",
            how,
        )
    return table


def _secrets(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting of a file that may only come from a secret file or a variable."""
    groups = {name: group for name, group in table.items() if isinstance(group, dict)}
    client = groups.get("kafka", {}).get("client")
    for option in client if isinstance(client, dict) else ():
        if is_secret_option(option):
            yield f"kafka.client {option}", f"write it to the secret file kafka__client__{option}"
    for group in ("state", "models"):
        url = groups.get(group, {}).get("url")
        if isinstance(url, str) and has_password(url):
            yield (
                f"the password in {group}.url",
                f"write the URL to the secret file {group}__url, or give the store's own variables",
            )


def is_secret_option(name: str) -> bool:
    """Whether an option of librdkafka holds a secret: a password, a private key, a token."""
    return _SECRET_OPTION.search(name) is not None


def has_password(url: str) -> bool:
    """Whether a URL holds a user and a password, or a token in their place."""
    return _PASSWORD.search(url) is not None
