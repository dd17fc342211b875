"""What alerts fire while a kind of fault happens: its primary one pages, and no other does.

A stage gets a lag process and a Prometheus with the committed rules. Faults last for seconds and
the rules look at hours, so their windows and pending times are divided by ``PACE``. Thresholds,
floors and the objective stay as they are.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from stream_scorer.closing import Closing
from tests.faults.suite.stage import Stage
from tests.faults.verifier.payloads import Outcome, outcome
from tests.faults.verifier.reader import read_to_end
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
UNMEASURED: Final = "DecisionsUnmeasured"
_BROKERS: Final = "broker"
"""A family: while no broker answers, nothing is appended, and a producer's time is too early. So
delays are overstated. The lag process, too, may have no numbers."""
_LIMIT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
"""The lag process knows the time of an append and of a commit as exactly as it looks."""
_SURE_SHARE: Final = 0.03
"""Twice the share that pages. Between nothing and this, a page is right and its absence, too."""
_SURE_BROKERS: Final = 0.3
"""The same in faults of brokers. In recorded runs, those that lasted made 36 to 86 % of the records
late, the short ones 1.5 % at most."""
_FLOOR: Final = 10
"""Fewer late records never page."""
_CALM_SECONDS: Final = 5.0
_LATEST_SECONDS: Final = 20.0
_TICK_SECONDS: Final = 0.3
_LAG: Final = {
    "STREAM_SCORER_LAG__INTERVAL_SECONDS": "1",
    "STREAM_SCORER_LAG__RECONCILE_SECONDS": "5",
}


@dataclass(frozen=True, slots=True)
class Delays:
    """How long input records waited for their outcomes.

    Attributes:
        outcomes: Their number.
        late: Those that are late for sure: by more than the lag process can err.
        slow: Those that are late or nearly so.
        longest_seconds: The longest wait.
    """

    outcomes: int = 0
    late: int = 0
    slow: int = 0
    longest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Alerted:
    """What fired.

    Attributes:
        primary: The alert that is to report the kind; empty: none.
        pages: Alerts that paged.
        tickets: The other alerts.
        delays: How late decisions really were.
        wrong: What is wrong with the alerts; empty if nothing.
    """

    primary: str
    pages: Sequence[str] = ()
    tickets: Sequence[str] = ()
    delays: Delays = Delays()
    wrong: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the fields that a report has."""
        return {
            "primary": self.primary, "pages": list(self.pages), "tickets": list(self.tickets),
            **asdict(self.delays),
        }  # fmt: skip


def delays_of(
    outcomes: Iterable[Outcome], appended: Mapping[tuple[int, int], float], began: float
) -> Delays:
    """Return how late outcomes were, by the arrival at a reader of committed records.

    Args:
        outcomes: Of the input records.
        appended: When a record was produced, monotonic seconds, by partition and offset.
        began: Records before it do not count, monotonic seconds.
    """
    found = [
        each.seen.at - appended[each.source]
        for each in outcomes
        if appended.get(each.source, float("-inf")) >= began
    ]
    late = sum(delay > _LIMIT_SECONDS + _LOOK_SECONDS for delay in found)
    slow = sum(delay > _LIMIT_SECONDS - _LOOK_SECONDS for delay in found)
    return Delays(len(found), late, slow, round(max(found, default=0.0), 2))


def judge_alerts(kind: str, family: str, fired: Mapping[str, str], delays: Delays) -> Alerted:
    """Compare the alerts that fired with the one that should.

    Late decisions may page in every kind that makes them late: that is what the page is for. They
    must page if they are late for sure. In faults of brokers it is enough if the lag process
    reports that it could not measure.

    Args:
        kind: The kind of fault.
        family: Its family.
        fired: Severity by the alert's name.
        delays: How late decisions really were.
    """
    primary = PRIMARY.get(kind, LATE)
    pages = sorted(name for name, severity in fired.items() if severity == "page")
    brokers = family == _BROKERS
    allowed = {primary, LATE} if delays.slow >= _FLOOR else {primary} - {LATE}
    share = _SURE_BROKERS if brokers else _SURE_SHARE
    certain = delays.late >= max(share * delays.outcomes, _FLOOR)
    reported = fired.keys() & ({LATE, UNMEASURED} if brokers else {LATE})
    wanted = {primary} - {LATE, ""} | ({LATE} if certain and not reported else set())
    wrong = [f"{name} paged" for name in pages if name not in allowed]
    wrong += [f"{name} did not fire" for name in sorted(wanted - fired.keys())]
    return Alerted(primary, pages, sorted(fired.keys() - set(pages)), delays, "; ".join(wrong))


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
        self._lock = threading.Lock()
        self._prometheus = self._started("first")
        self._began = float("-inf")
        self._since = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="alert-watch", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._lag.wait_ready()
            self._wait_scraped()
        except BaseException:
            self.close()
            raise
        self._since = time.monotonic()
        self._stage.on_start = self._begin_anew
        # A count is seen if it was scraped before and after it.
        self._stage.on_resumed = self._wait_scraped
        self._thread.start()
        return self

    def close(self) -> None:
        """End both."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._prometheus.close()
        if self._lag.alive:
            self._lag.kill()

    def _started(self, name: str) -> LivePrometheus:
        folder = self._stage.folder / f"prometheus-{name}"
        folder.mkdir()
        ports = [self._lag.port, *self._stage.scorers.ports]
        return LivePrometheus(folder, ports, pace=PACE)

    def _begin_anew(self) -> None:
        """Forget the first start of a scorer: it is no fault, and would be one at this pace."""
        time.sleep(_CALM_SECONDS)
        with self._lock:
            self._prometheus.close()
            self._prometheus = self._started("anew")
            self._began = time.monotonic()
        self._wait_scraped()
        self._since = time.monotonic()

    def _wait_scraped(self) -> None:
        """Wait until each process that runs was scraped two times from now on."""
        before = self._scrapes()

        def twice() -> bool:
            ports, now = [self._lag.port, *self._stage.scorers.ports], self._scrapes()
            return all(now.get(port, 0) >= before.get(port, 0) + 2 for port in ports)

        wait_until(twice, lambda: f"all are scraped: {self._scrapes()}")

    def _scrapes(self) -> dict[int, int]:
        """Return how often each port was scraped."""
        found = self._prometheus.query("sum by (instance) (sum_over_time(up[1h]))")
        return {
            int(each["metric"]["instance"].rpartition(":")[2]): int(float(each["value"][1]))
            for each in found
        }

    def _follow(self) -> None:
        known: list[int] = []
        while not self._stop.wait(_TICK_SECONDS):
            ports = self._stage.scorers.ports
            if ports != known:
                with self._lock:
                    self._prometheus.scrape([self._lag.port, *ports])
                known = ports

    def judged(self, kind: str, family: str) -> Alerted:
        """Wait until what must fire has fired, and judge."""
        delays = self._delays()

        def found() -> Alerted:
            fired = self._prometheus.fired(time.monotonic() - self._since)
            return judge_alerts(kind, family, fired, delays)

        # No rule is evaluated on a count before the second scrape after it.
        self._stop.wait(_CALM_SECONDS)
        for _ in range(int(_LATEST_SECONDS)):
            if "did not fire" not in found().wrong:
                break
            self._stop.wait(1.0)
        return found()

    def _delays(self) -> Delays:
        stage, epoch = self._stage, time.time() - time.monotonic()
        source, names = stage.source, stage.kafka.topics
        records = read_to_end(stage.inside.bootstrap, [source], "read_uncommitted")
        appended = {(each.partition, each.offset): each.timestamp / 1e3 - epoch for each in records}
        topics = {names.decisions, names.dead_letters}
        outcomes = (outcome(each, source) for each in list(stage.live.seen) if each.topic in topics)
        return delays_of(outcomes, appended, self._began)
