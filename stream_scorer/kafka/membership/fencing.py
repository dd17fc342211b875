"""Whether a fenced producer has fenced itself, or another process has.

The broker gives the same answer in both cases: the epoch is higher than the client's. But a process
knows two causes in itself: a transaction that is open for longer than ``transaction.timeout.ms``,
and an earlier request for an epoch whose answer never came, and which may arrive at any time.
"""

# Connections break by the dozen while brokers are down, and few of them lose a request.
_MOST_LATE = 5


class OwnDoing:
    """What this process knows that can have raised its own epoch.

    Args:
        request_seconds: Time limit for a request's answer.
        transaction_seconds: How long the broker keeps a transaction open.

    Attributes:
        cause: The cause this time; empty if none is known.
    """

    def __init__(self, request_seconds: float, transaction_seconds: float) -> None:
        self._request_seconds = request_seconds
        self._transaction_seconds = transaction_seconds
        self._late = 0
        self.cause = ""

    def born(self, seconds: float, broken: int) -> None:
        """Note that a new epoch was requested and received.

        Args:
            seconds: How long that took.
            broken: How many connections failed meanwhile.
        """
        unanswered = max(int(seconds // self._request_seconds), broken)
        self._late = min(self._late + unanswered, _MOST_LATE)
        self.cause = ""

    def explains(self, age: float) -> bool:
        """Return whether this process itself explains that its epoch was raised.

        If another process raised it after all, this one fences that one, whose transaction is
        younger. A late request is an explanation only once, so that two processes of one name do
        not fence each other for ever.

        Args:
            age: Seconds since the open transaction began; 0 when none is open.
        """
        if self.cause:
            return True
        if age >= self._transaction_seconds:
            self.cause = "transaction outlived its time limit"
        elif self._late:
            self._late -= 1
            self.cause = "its own late request raised the epoch"
        return bool(self.cause)
