"""Whether a producer that was fenced has done so to itself, or another process has.

The broker gives both the same answer: the epoch is higher than the client's. But a process knows
two things that raise it without anybody else: a transaction that is open for longer than
``transaction.timeout.ms``, and a request for an epoch of its own whose answer never came and which
may arrive at any time.
"""

# Connections break by the dozen while brokers are away, and few of them lose a request.
_MOST_LATE = 5


class OwnDoing:
    """What this process knows of itself that can have raised its epoch.

    Args:
        request_seconds: How long a request's answer is waited for.
        transaction_seconds: How long the broker keeps a transaction open.

    Attributes:
        cause: What it was this time; empty where nothing of its own is known.
    """

    def __init__(self, request_seconds: float, transaction_seconds: float) -> None:
        self._request_seconds = request_seconds
        self._transaction_seconds = transaction_seconds
        self._late = 0
        self.cause = ""

    def born(self, seconds: float, broken: int) -> None:
        """Note that an epoch was asked for until it came.

        Args:
            seconds: How long that took.
            broken: How many connections failed meanwhile.
        """
        unanswered = max(int(seconds // self._request_seconds), broken)
        self._late = min(self._late + unanswered, _MOST_LATE)
        self.cause = ""

    def explains(self, age: float) -> bool:
        """Whether it explains that the epoch was raised.

        If another process did it all the same, this one fences that one, whose transaction is
        younger. A late request explains one time only: two processes of one name do not take turns
        for ever.

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
