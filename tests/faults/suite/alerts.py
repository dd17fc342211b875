"""What alerts fire while a kind of fault happens: its primary one pages, and no other does.

A stage gets a lag process and a Prometheus with the committed rules. Faults last for seconds and
the rules look at hours, so their windows and pending times are divided by ``PACE``. Thresholds,
floors and the objective stay as they are.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stream_scorer.closing import Closing
from tests.faults.suite.stage import Stage
from tests.faults.verifier.reader import Seen
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.lag.live_prometheus import LivePrometheus

PACE: Final = 30
LATE: Final = "DecisionsLate"
PRIMARY: Final[Mapping[str, str]] = {
    "malformed": "DeadLetters",
    "unknown_schema_id": "DeadLetters",
    "quarantined_record": "RecordsQuarantined",
    "tampered_model": "ModelRefused",
    "offset_out_of_range": "DataLost",
    # They change nothing that a customer or an operator must know at once.
    "oversize_record": "",
    "aborted_upstream_transaction": "",
    "another_partitioner": "",
}
"""The one alert that reports a kind: decisions are late, unless another is named."""
_FEED_STOPS: Final = frozenset(
    {"offset_out_of_range", "partitions_added", "expired_transactional_id"}
)
"""Kinds that stop their load: that no decision comes does not show that one is late."""
_BROKERS: Final = "broker"
"""The family of which the same holds: without a leader nothing is appended."""
_LIMIT_SECONDS: Final = 1.0
_SURE_SHARE: Final = 0.03
"""Twice the share that pages. Between nothing and this, a page is right and its absence, too."""
_LATEST_SECONDS: Final = 20.0
_TICK_SECONDS: Final = 0.3
_LAG: Final = {
    "STREAM_SCORER_LAG__INTERVAL_SECONDS": "1",
    "STREAM_SCORER_LAG__RECONCILE_SECONDS": "5",
}


@dataclass(frozen=True, slots=True)
class Alerted:
    """What fired.

    Attributes:
        primary: The alert that is to report the kind; empty: none.
        pages: Alerts that paged.
        tickets: The other alerts.
        late_share: Share of the time, over all partitions, in which a record waited for longer than
            the objective allows, by the arrivals of the decisions.
        wrong: What is wrong with the alerts; empty if nothing.
    """

    primary: str
    pages: Sequence[str] = ()
    tickets: Sequence[str] = ()
    late_share: float = 0.0
    wrong: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the fields that a report has."""
        return {
            "primary": self.primary, "pages": list(self.pages), "tickets": list(self.tickets),
            "late_share": round(self.late_share, 4),
        }  # fmt: skip


@dataclass(slots=True)
class _Span:
    """The decisions of one partition: first and newest arrival, and the late time between."""

    first: float
    newest: float
    late: float = field(default=0.0)


def late_share(decisions: Sequence[Seen], began: float) -> float:
    """Return the share of the time in which records of a steady load waited for too long.

    It knows nothing of offsets or of the lag process. If no decision of a partition arrives for
    three seconds, the records of two of them are late.

    Args:
        decisions: In the order of their arrival.
        began: When the load began, monotonic seconds.
    """
    spans: dict[int, _Span] = {}
    for each in decisions:
        span = spans.setdefault(each.partition, _Span(began, began))
        span.late += max(each.at - span.newest - _LIMIT_SECONDS, 0.0)
        span.newest = each.at
    total = sum(span.newest - span.first for span in spans.values())
    return sum(span.late for span in spans.values()) / total if total else 0.0


def judge_alerts(kind: str, family: str, fired: Mapping[str, str], late: float) -> Alerted:
    """Compare the alerts that fired with the one that should.

    Late decisions may page in every kind that makes them late: that is what the page is for.

    Args:
        kind: The kind of fault.
        family: Its family.
        fired: Severity by the alert's name.
        late: See :func:`late_share`.
    """
    primary = PRIMARY.get(kind, LATE)
    pages = sorted(name for name, severity in fired.items() if severity == "page")
    allowed = {primary} | ({LATE} if late > 0 else set())
    measured = kind not in _FEED_STOPS and family != _BROKERS
    wanted = {primary} - {LATE, ""} | ({LATE} if measured and late >= _SURE_SHARE else set())
    wrong = [f"{name} paged" for name in pages if name not in allowed]
    wrong += [f"{name} did not fire" for name in sorted(wanted - fired.keys())]
    return Alerted(primary, pages, sorted(fired.keys() - set(pages)), late, "; ".join(wrong))


class AlertWatch(Closing):
    """A lag process and a Prometheus next to a stage, which scrapes all of its scorers.

    Args:
        stage: The stage, before its first scorer.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lag = ScorerProcess(
            stage.inside, stage.folder / "lag.log", "--serve", command="lag", variables=_LAG,
            fresh=True,
        )  # fmt: skip
        self._lag.wait_ready()
        self._prometheus = LivePrometheus(stage.folder, [self._lag.port], pace=PACE)
        wait_until(lambda: bool(self._prometheus.query("up == 1")), "Prometheus scrapes")
        self._began = float("inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="alert-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End both."""
        self._stop.set()
        self._thread.join()
        self._prometheus.close()
        if self._lag.alive:
            self._lag.kill()

    def _follow(self) -> None:
        known: list[int] = []
        while not self._stop.wait(_TICK_SECONDS):
            if self._stage.ledger.acknowledged:
                self._began = min(self._began, time.monotonic())
            ports = self._stage.scorers.ports
            if ports != known:
                self._prometheus.scrape([self._lag.port, *ports])
                known = ports

    def judged(self, kind: str, family: str) -> Alerted:
        """Wait until what must fire has fired, and judge."""
        topic = self._stage.kafka.topics.decisions
        decisions = [each for each in list(self._stage.live.seen) if each.topic == topic]
        late = late_share(decisions, self._began)

        def found() -> Alerted:
            return judge_alerts(kind, family, self._prometheus.fired(), late)

        # No rule is evaluated on a count before the second scrape after it.
        self._stop.wait(5.0)
        for _ in range(int(_LATEST_SECONDS)):
            if "did not fire" not in found().wrong:
                break
            self._stop.wait(1.0)
        return found()
