"""The token issuer of the settings: its keys, from a file or a URL, and its tokens' callers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from stream_scorer.errors import SettingsError
from stream_scorer.security.token_keys import (
    DOCUMENT_BYTES_MOST,
    KeyAges,
    TokenKeys,
    VerificationKey,
    read_jwks,
)
from stream_scorer.security.tokens import TokenRules, TokenVerifier
from stream_scorer.serving.access.accounts import Accounts
from stream_scorer.serving.access.https_fetch import fetch, tls_context
from stream_scorer.serving.access.token_callers import TokenCallers
from stream_scorer.serving.settings.access import Access

_FETCH_SECONDS: Final = 10.0
_SETTING: Final = "setting serving.access.token_keys"


def token_keys(access: Access, report: Callable[[int, str], None]) -> TokenKeys:
    """Return the issuer's keys, read once.

    An issuer that does not answer is reported, and does not keep the server from its start.

    Args:
        access: The settings.
        report: Takes the result of each reading.

    Raises:
        SettingsError: A file cannot be used.
    """
    ages = KeyAges(
        access.token_keys_seconds,
        access.token_keys_refetch_seconds,
        access.token_keys_stale_seconds,
    )
    if "://" in access.token_keys:
        context = tls_context(access.token_keys_ca)

        def load() -> bytes:
            return fetch(access.token_keys, context, DOCUMENT_BYTES_MOST, _FETCH_SECONDS)
    else:

        def load() -> bytes:
            return _file(Path(access.token_keys))

    def read() -> Mapping[str, VerificationKey]:
        return read_jwks(load(), access.token_algorithms)

    keys = TokenKeys(read, ages, report)
    if "://" not in access.token_keys:
        try:
            read()
        except ValueError as error:
            raise SettingsError(
                f"{_SETTING}: {access.token_keys} {error}", "name a file of JSON Web Keys"
            ) from None
    keys.refresh()
    return keys


def token_callers(access: Access, keys: TokenKeys, accounts: Accounts) -> TokenCallers:
    """Return the callers with tokens of the issuer."""
    rules = TokenRules(
        issuer=access.token_issuer,
        audience=access.token_audience,
        leeway=access.token_leeway_seconds,
        lifetime=access.token_lifetime_seconds,
        scopes_claim=access.token_scopes_claim,
        scopes=access.token_scopes,
    )
    return TokenCallers(TokenVerifier(rules, keys), accounts)


def _file(path: Path) -> bytes:
    """Return a file's bytes up to one more than the limit.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(DOCUMENT_BYTES_MOST + 1)
    except OSError as error:
        raise SettingsError(
            f"{_SETTING}: {path}: {error.strerror or error}", "name a file that this user can read"
        ) from error
