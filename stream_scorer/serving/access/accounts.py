"""The clients that requests belong to, each with its limits and what it has used of them.

Clients of the file are as many as the file has. Subjects of tokens are bounded: the one that was
unused for the longest time is forgotten if its limits are unused again, and otherwise a new subject
has to wait. So a caller cannot reset its limits by making the table full.
"""

from collections import OrderedDict
from collections.abc import Collection
from typing import Final, cast

from stream_scorer.security.clients import ApiClient, ClientTable, end_of
from stream_scorer.serving.access.limits import ClientLimits
from stream_scorer.serving.settings.access import Access
from stream_scorer.serving.web.messages import Caller, Scope

TOKEN_PREFIX: Final = "token:"  # noqa: S105 a name, not a secret
"""Before a token's subject in a caller's name: no client of the file has a colon in its name."""
_SUBJECTS_MOST: Final = 10_000


class Account:
    """A client as requests see it.

    Attributes:
        limits: Its limits.
        disabled: Whether it is refused.
        begin: Before that it is refused; seconds since the epoch.
        end: From then on it is refused.
    """

    __slots__ = ("_callers", "_name", "_scopes", "begin", "disabled", "end", "limits")

    def __init__(self, name: str, scopes: Collection[str], limits: ClientLimits) -> None:
        self._name = name
        self._scopes = frozenset(cast("Collection[Scope]", scopes))
        self._callers: dict[str, Caller] = {}
        self.limits = limits
        self.disabled = False
        self.begin = 0.0
        self.end = end_of(None)

    def caller(self, how: str) -> Caller:
        """Return the client as the caller of a request; ``how`` as in :class:`Caller`."""
        found = self._callers.get(how)
        if found is None:
            found = self._callers[how] = Caller(self._name, self._scopes, how)
        return found


class Accounts:
    """All clients of one gateway.

    Args:
        access: The limits of tokens' subjects.
        subjects_most: Subjects of tokens that are remembered.
    """

    def __init__(self, access: Access, subjects_most: int = _SUBJECTS_MOST) -> None:
        self._access = access
        self._subjects_most = subjects_most
        self._clients: dict[str, Account] = {}
        self._subjects: OrderedDict[str, ClientLimits] = OrderedDict()
        self.table = ClientTable({})

    def follow(self, table: ClientTable, now: float) -> None:
        """Take other clients; those that stay keep what they have used.

        Args:
            table: The clients.
            now: Seconds of the limits' clock.
        """
        fresh = {
            name: _account(name, client, self._clients.get(name), now)
            for name, client in table.clients.items()
        }
        self._clients, self.table = fresh, table

    def client(self, name: str) -> Account | None:
        """Return a client of the file."""
        return self._clients.get(name)

    def subject(
        self, subject: str, scopes: frozenset[str], now: float, wall: float
    ) -> Account | None:
        """Return a token's subject with the scopes of this token.

        Args:
            subject: The token's.
            scopes: Its scopes.
            now: Seconds of the limits' clock.
            wall: Seconds since the epoch.

        Returns:
            None if too many other subjects are active.
        """
        limits = self._subjects.get(subject)
        if limits is None:
            limits = self._remembered(subject, now, wall)
        else:
            self._subjects.move_to_end(subject)
        return None if limits is None else Account(f"{TOKEN_PREFIX}{subject}", scopes, limits)

    def _remembered(self, subject: str, now: float, wall: float) -> ClientLimits | None:
        access = self._access
        if len(self._subjects) >= self._subjects_most:
            oldest, limits = next(iter(self._subjects.items()))
            if not limits.unused(now, wall):
                return None
            del self._subjects[oldest]
        made = ClientLimits(
            access.token_rate_per_second, access.token_burst, access.token_quota_per_day, now
        )
        self._subjects[subject] = made
        return made

    def limits_of(self, caller: Caller) -> ClientLimits | None:
        """Return the limits of a caller; None if it has none, or is gone."""
        if caller.how == "token":
            return self._subjects.get(caller.client.removeprefix(TOKEN_PREFIX))
        account = self._clients.get(caller.client)
        return None if account is None else account.limits


def _account(name: str, client: ApiClient, known: Account | None, now: float) -> Account:
    rate, burst, quota = client.rate_per_second, client.burst, client.quota_per_day
    if known is None:
        limits = ClientLimits(rate, burst, quota, now)
    else:
        limits = known.limits
        limits.change(rate, burst, quota, now)
    made = Account(name, client.scopes, limits)
    made.disabled = client.disabled
    made.begin = 0.0 if client.not_before is None else client.not_before.timestamp()
    made.end = end_of(client.expires)
    return made
