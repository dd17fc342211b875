"""Bearer tokens as callers: verified, counted by subject, and why one is refused."""

from dataclasses import dataclass

from stream_scorer.security.token_keys import TokenKeysUnavailableError
from stream_scorer.security.tokens import TokenRefusedError, TokenVerifier, VerifiedToken
from stream_scorer.serving.access.accounts import Account, Accounts
from stream_scorer.serving.access.refusals import unavailable
from stream_scorer.serving.web.problems import Problem

_SUBJECTS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """Why a token is refused.

    Attributes:
        reason: One of ``telemetry.access.REFUSALS``.
        detail: The same in words.
        problem: The answer, where the token itself is not at fault.
    """

    reason: str
    detail: str
    problem: Problem | None = None


class TokenCallers:
    """The callers with tokens of one issuer; not for several threads at the same time.

    Args:
        verifier: Verifies tokens.
        accounts: Counts their subjects.
    """

    def __init__(self, verifier: TokenVerifier, accounts: Accounts) -> None:
        self._verifier = verifier
        self._accounts = accounts

    def account(
        self, token: str, now: float, wall: float, *, unverified: bool
    ) -> Account | TokenRefusal | None:
        """Return the account of a token's subject.

        Args:
            token: As sent.
            now: Seconds of the limits' clock.
            wall: Seconds since the epoch.
            unverified: Whether a token that was not verified before is looked at. A signature
                costs some 100 µs, so an address whose tokens failed too often does not cause more.

        Returns:
            The account, or why it is refused; None for a token that was not looked at.
        """
        try:
            found: VerifiedToken | None = self._verifier.kept(token, wall)
            if found is None:
                if not unverified:
                    return None
                found = self._verifier.verify(token, wall)
        except TokenRefusedError as error:
            return TokenRefusal(error.fault, error.detail)
        except TokenKeysUnavailableError as error:
            detail = "the token issuer's keys are being read"
            problem = unavailable(detail, error.seconds)
            return TokenRefusal("token_keys_unavailable", detail, problem)
        account = self._accounts.subject(found.subject, found.scopes, now, wall)
        if account is None:
            detail = "too many subjects of tokens are active"
            return TokenRefusal("token_subjects", detail, unavailable(detail, _SUBJECTS_SECONDS))
        return account
