"""A healthy system, and for each alert a fault that raises it and nothing else that pages."""

from itertools import accumulate
from typing import Any

from tests.alerts.promtool import Scenario

_SLO = 'stream_scorer_slo_records_total{{group="stream-scorer",topic="transactions",result="{}"}}'
GOOD, BAD, UNMEASURED = (_SLO.format(result) for result in ("good", "bad", "unmeasured"))
OBSERVED = "stream_scorer_lag_pass_time_seconds"
COUNTED = 'stream_scorer_slo_time_seconds{group="stream-scorer",topic="transactions"}'
SKEW = 'stream_scorer_topic_skew_seconds{topic="transactions"}'
_PARTITIONS = (
    'stream_scorer_group_partitions{{group="stream-scorer",topic="transactions",verdict="{}"}}'
)
_WORST = 'stream_scorer_group_worst_verdict{{group="{}",verdict="UNKNOWN"}}'
WORST, ABSENT = _WORST.format("stream-scorer"), _WORST.format("misspelt")
_JOB = '{job="stream-scorer",instance="s:9464"'
_PROFILER = '{job="stream-scorer",instance="p:9464"'
_OTHER = '{job="stream-scorer",instance="t:9464"'
"""Scorers of another group."""
_BUILD = 'stream_scorer_build_info{},process="{}",group="{}",version="0.1.0"}}'
BUILDS = (
    _BUILD.format(_JOB, "scorer", "stream-scorer"),
    _BUILD.format(_PROFILER, "profiler", "profiler"),
    _BUILD.format(_OTHER, "scorer", "other"),
)
DECISIONS = f'stream_scorer_decisions_total{_JOB},outcome="APPROVE",model="fraud",version="1.0.0"}}'
REJECTED = f'stream_scorer_rejected_total{_JOB},reason="MALFORMED"}}'
PROFILED = f'stream_scorer_rejected_total{_PROFILER},reason="MALFORMED"}}'
OTHER_DECISIONS, OTHER_REJECTED, OTHER_COMMITTED, OTHER_INCOMPLETE = (
    f'stream_scorer_decisions_total{_OTHER},outcome="APPROVE",model="fraud",version="1.0.0"}}',
    f'stream_scorer_rejected_total{_OTHER},reason="MALFORMED"}}',
    f'stream_scorer_transactions_total{_OTHER},result="committed"}}',
    f'stream_scorer_state_incomplete{_OTHER},partition="3"}}',
)
COMMITTED = f'stream_scorer_transactions_total{_JOB},result="committed"}}'
ABORTED = f'stream_scorer_transactions_total{_JOB},result="aborted"}}'
DRIFT = f'stream_scorer_drift_open{_JOB},severity="page"}}'
UNTILED = f"stream_scorer_drift_windows_untiled_total{_JOB}}}"
CLOSED = f"stream_scorer_drift_windows_closed_total{_JOB}}}"
LOOKS = (
    f'stream_scorer_rollout_looks_total{_JOB},guard="slow",way="canary",verdict="INCONCLUSIVE"}}'
)
LABELS = f'stream_scorer_labels_late_total{_JOB},cause="delivered_late"}}'
ROWS = f"stream_scorer_terminal_rows_published_total{_JOB}}}"
CHECKPOINTS = f"stream_scorer_checkpoint_failures_total{_JOB}}}"
INCOMPLETE = f'stream_scorer_state_incomplete{_JOB},partition="3"}}'
REFUSED = f'stream_scorer_model_refused{_JOB},model="fraud",version="1.0.0"}}'
QUARANTINED = f'stream_scorer_records_quarantined_total{_JOB},where="batch"}}'
EXITS = f'stream_scorer_worker_exits_total{_JOB},worker="1",cause="SIGKILL"}}'
UNACCOUNTED = f"stream_scorer_records_unaccounted_total{_JOB}}}"
_RECONCILED = (
    'stream_scorer_reconciled_offsets_total{{job="stream-scorer",group="stream-scorer",'
    'topic="transactions",partition="3",result="{}"}}'
)
DECIDED, MISSING, DOUBLED = (
    _RECONCILED.format(result) for result in ("decided", "missing", "doubled")
)
COMPARED = 'stream_scorer_reconciled_time_seconds{group="stream-scorer",topic="transactions"}'
OLDEST = 'stream_scorer_dead_letters_oldest_time_seconds{topic="transactions.dlq",partition="0"}'
WATERMARK = (
    'stream_scorer_event_time_watermark_seconds{job="stream-scorer",group="stream-scorer",'
    'topic="transactions",partition="3"}'
)
_BOUNDS = ("0.1", "10.0", "+Inf")


def _requests(service: str, operation: str) -> list[str]:
    """Return the buckets of requests to a service."""
    name = f'stream_scorer_service_request_seconds_bucket{_JOB},service="{service}"'
    return [f'{name},operation="{operation}",le="{bound}"}}' for bound in _BOUNDS]


REGISTRY_QUICK, *REGISTRY = _requests("registry", "get_schema")
STORE_QUICK, *STORE = _requests("checkpoint_store", "write")
_CLIENT = f'{_JOB},type="producer",client="stream-scorer:0",broker="1"'
ROUND_TRIP = f'stream_scorer_kafka_round_trip_seconds{_CLIENT},share="p99"}}'
THROTTLE = f"stream_scorer_kafka_throttle_seconds{_CLIENT}}}"
_DISK = (
    'stream_scorer_disk_{}_bytes{{job="stream-scorer",instance="s:9464",'
    'path="/var/lib/stream-scorer"}}'
)
FREE, SIZE = _DISK.format("free"), _DISK.format("size")
CERTIFICATE = f'stream_scorer_certificate_expires_time_seconds{_JOB},file="server.pem"}}'
MEMBERS = 'stream_scorer_group_members{group="stream-scorer"}'
RATE = (
    'stream_scorer_group_output_records_per_second{group="stream-scorer",topic="transactions",'
    'partition="3"}'
)
VERDICTS = (
    "DATA LOST BY RETENTION", "HANGING TRANSACTION", "STOPPED", "STALLED", "REWOUND", "UNKNOWN",
    "SLOW", "EMPTY",
)  # fmt: skip


def partitions(verdict: str) -> str:
    """Return the series of the partitions with a verdict."""
    return _PARTITIONS.format(verdict)


LOST = partitions("DATA LOST BY RETENTION")


HEALTHY = {
    GOOD: "0+6000x800", BAD: "0+1x800", UNMEASURED: "0+0x800", OBSERVED: "0+60x800",
    COUNTED: "0+60x800",
    MEMBERS: "4+0x800", RATE: "25+0x800",
    SKEW: "0.2+0x800", DECISIONS: "0+6000x800", REJECTED: "0+3x800", COMMITTED: "0+600x800",
    ABORTED: "0+1x800", DRIFT: "0+0x800", UNTILED: "0+0x800", CLOSED: "0+0x800",
    LOOKS: "0+0x800", LABELS: "0+1x800", ROWS: "0+6000x800",
    CHECKPOINTS: "0+0x800", INCOMPLETE: "0+0x800", REFUSED: "0+0x800", QUARANTINED: "0+0x800",
    EXITS: "0+0x800", UNACCOUNTED: "0+0x800", CERTIFICATE: "8640000+0x800",
    DECIDED: "0+1500x800", MISSING: "0+0x800", DOUBLED: "0+0x800", COMPARED: "0+60x800",
    OLDEST: "0+60x800", WATERMARK: "0+60x800", ROUND_TRIP: "0.004+0x800", THROTTLE: "0+0x800",
    REGISTRY_QUICK: "0+2x800", STORE_QUICK: "0+20x800",
    partitions("OK"): "4+0x800", FREE: "5e9+0x800", SIZE: "1e10+0x800",
    OTHER_DECISIONS: "0+60000x800", OTHER_REJECTED: "0+30x800", OTHER_COMMITTED: "0+60000x800",
    OTHER_INCOMPLETE: "0+0x800", PROFILED: "0+3x800", **dict.fromkeys(BUILDS, "1+0x800"),
    **dict.fromkeys(REGISTRY, "0+2x800"), **dict.fromkeys(STORE, "0+20x800"),
} | {partitions(verdict): "0+0x800" for verdict in VERDICTS}  # fmt: skip
"""6,000 records a minute in four partitions; one in 6,000 is late, one in 2,000 is rejected."""


def _verdict(alert: str, verdict: str, when: str) -> Scenario:
    """Return a partition that gets a verdict after an hour and keeps it."""
    return Scenario(alert, {partitions(verdict): "0x60 1x300"}, {"59m": [], when: [alert]})


def _after_an_hour(alert: str, series: str, values: str, when: str) -> Scenario:
    return Scenario(alert, {series: values}, {"59m": [], when: [alert]})


def _days(good: int, bad: int) -> dict[str, str]:
    """Return days of values, one every ten minutes."""
    steps = {
        GOOD: good, BAD: bad, DECISIONS: 60_000, REJECTED: 30, OBSERVED: 600,
        OTHER_DECISIONS: 600_000, OTHER_REJECTED: 300, OTHER_COMMITTED: 600_000, PROFILED: 30,
        COUNTED: 600, COMMITTED: 6_000,
        ABORTED: 10, LABELS: 10, ROWS: 60_000, COMPARED: 600, OLDEST: 600, WATERMARK: 600,
    }  # fmt: skip
    return {series: f"0+{step}x500" for series, step in steps.items()}


def _hourly(series: str, steps: list[int]) -> dict[str, str]:
    """Return a counter that grows by some steps, one an hour."""
    return {series: " ".join(f"{total}x59" for total in accumulate(steps))}


def _rendered(alert: str, when: str, text: str, severity: str = "ticket", **labels: str) -> Any:
    """Return an alert as it is notified: no label and no part of its summary is lost."""
    return {
        "alertname": alert,
        "eval_time": when,
        "exp_alerts": [
            {
                "exp_labels": {"severity": severity, "job": "stream-scorer", **labels},
                "exp_annotations": {
                    "summary": text, "runbook": f"docs/RUNBOOK.md#{alert.lower()}",
                },
            }
        ],
    }  # fmt: skip


def _named(alert: str, series: str, values: str, when: str, text: str, **labels: str) -> Scenario:
    """Return a fault whose alert names the instance or the group."""
    rendered = [_rendered(alert, when, text, **labels)]
    return Scenario(alert, {series: values}, {"59m": [], when: [alert]}, rendered=rendered)


SCENARIOS = [
    Scenario("a healthy hour", {}, {f"{minute}m": [] for minute in range(1, 301, 7)}),
    # All scorers are stopped for ten minutes: it pages during it, within two minutes.
    Scenario(
        "DecisionsLate",
        {GOOD: "0+6000x400 2400000+0x10 2400000+6000x200", BAD: "0+1x400 400+6000x10 60400+1x200"},
        {
            "400m": [],
            "403m": ["BudgetBurns", "DecisionsLate"],
            "409m": ["BudgetBurns", "DecisionsLate"],
            # Half an hour after its end the page is over.
            "445m": ["BudgetBurns"],
        },
    ),
    Scenario(
        "a quiet night",
        {GOOD: "0+1x60 60+0x1 60+1x200", BAD: "0x60 1x200"},
        {"62m": [], "100m": []},
    ),
    Scenario(
        "9 % are late",
        {GOOD: "0+6000x400 2400000+5460x300", BAD: "0+1x400 400+540x300"},
        {"400m": [], "500m": ["BudgetBurns", "DecisionsLate"]},
    ),
    Scenario("0.4 % are late", _days(59_760, 240), {"2880m": ["BudgetBurns"]}, interval="10m"),
    Scenario("0.2 % are late", _days(59_880, 120), {"4200m": ["BudgetBurns"]}, interval="10m"),
    Scenario("LagProcessAbsent", {}, {"2m": [], "10m": ["LagProcessAbsent"]}, without=(OBSERVED,)),
    # It is scraped, but the brokers do not answer it.
    _after_an_hour("LagProcessAbsent", OBSERVED, "0+60x60 3600+0x300", "70m"),
    # One notification, whatever the brokers do not answer.
    Scenario(
        "LagProcessAbsent",
        dict.fromkeys((OBSERVED, COUNTED), "0+60x60 3600+0x300"),
        {"59m": [], "70m": ["LagProcessAbsent"]},
    ),
    # It makes passes, but counts nothing.
    _after_an_hour("LagProcessAbsent", COUNTED, "0+60x60 3600+0x300", "70m"),
    _after_an_hour("DecisionsUnmeasured", UNMEASURED, "0x60 50000x300", "62m"),
    _verdict("GroupStopped", "STOPPED", "63m"),
    _verdict("GroupStalled", "STALLED", "63m"),
    _verdict("GroupSlow", "SLOW", "75m"),
    _verdict("GroupRewound", "REWOUND", "62m"),
    _verdict("GroupEmpty", "EMPTY", "80m"),
    _verdict("GroupUnknown", "UNKNOWN", "70m"),
    _after_an_hour("GroupMissing", ABSENT, "0x60 1x300", "80m"),
    # A group with a partition has a verdict, and its alert is another one.
    Scenario("no leader", {WORST: "0x60 1x300"}, {"59m": [], "80m": []}),
    _verdict("TransactionHanging", "HANGING TRANSACTION", "65m"),
    _verdict("DataLost", "DATA LOST BY RETENTION", "62m"),
    # Their verdicts last for a minute, and must not be over before someone has looked.
    Scenario(
        "data are lost once",
        {LOST: "0x60 1 0x300"},
        {"59m": [], "62m": ["DataLost"], "115m": ["DataLost"], "125m": []},
    ),
    # The last member left at the beginning. On the fourth day the group is out of use.
    Scenario(
        "an abandoned group loses data",
        _days(60_000, 10) | {MEMBERS: "1 0x500", RATE: "0x500", LOST: "0x440 1 0x10 1x40"},
        {"4390m": [], "4440m": ["DataLost"], "4520m": [], "4600m": [], "4700m": []},
        interval="10m",
    ),
    Scenario(
        "a group in use loses data again and again",
        _days(60_000, 10) | {MEMBERS: "1x500", RATE: "1x500", LOST: "0x440 1 0x10 1x40"},
        {"4440m": ["DataLost"], "4600m": ["DataLost"], "4700m": ["DataLost"]},
        interval="10m",
    ),
    # It commits offsets and joins no group, as the profiler does.
    Scenario(
        "a group without members loses data",
        {MEMBERS: "0x800", LOST: "0x60 1 0x300"},
        {"62m": ["DataLost"]},
    ),
    Scenario(
        "offsets are reset once",
        {partitions("REWOUND"): "0x60 1 0x300"},
        {"59m": [], "62m": ["GroupRewound"], "115m": ["GroupRewound"], "125m": []},
    ),
    _after_an_hour("ClockSkew", SKEW, "0.2x60 120x300", "75m"),
    # A restart: for half a minute no member reads.
    Scenario("a restart", {partitions("STOPPED"): "0x60 4 0x300"}, {"61m": [], "70m": []}),
    # A tenth of the records of the other group: its decisions do not hide them.
    _named(
        "DeadLetters",
        REJECTED,
        "0+3x60 180+300x300",
        "75m",
        "4.459% of the records are rejected by stream-scorer",
        group="stream-scorer",
    ),
    # A schema that the scorers do not know: they have rejected everything since they started.
    Scenario(
        "nothing is decided",
        {REJECTED: "_x60 0+300x300"},
        {"59m": [], "80m": ["DeadLetters"]},
        without=[DECISIONS],
    ),
    # It reads what the scorers read, and the scorers' rejections are counted already.
    Scenario("a profiler rejects", {PROFILED: "0+3x60 180+6000x300"}, {"75m": [], "200m": []}),
    _after_an_hour("DriftPages", DRIFT, "0x60 1x300", "62m"),
    # A window closes each hour; from the sixth on each has a gap.
    Scenario(
        "DriftBlind",
        _hourly(UNTILED, [0] * 5 + [1] * 8) | _hourly(CLOSED, [1] * 13),
        {"290m": [], "410m": [], "600m": ["DriftBlind"], "770m": ["DriftBlind"]},
    ),
    Scenario(
        "one gap",
        _hourly(UNTILED, [0] * 5 + [1, 1] + [0] * 6) | _hourly(CLOSED, [1] * 13),
        {f"{minute}m": [] for minute in range(290, 780, 60)},
    ),
    Scenario(
        "few windows have a gap",
        _hourly(UNTILED, [1] * 13) | _hourly(CLOSED, [8] * 13),
        {f"{minute}m": [] for minute in range(290, 780, 60)},
    ),
    _after_an_hour("RolloutInconclusive", LOOKS, "0x60 1x300", "62m"),
    _after_an_hour("LabelsLate", LABELS, "0+1x60 60+900x300", "200m"),
    Scenario(
        "one label is late, and no row is due",
        {LABELS: "0x60 1x300", ROWS: "0x360"},
        {"59m": [], "130m": [], "200m": []},
    ),
    _after_an_hour("CheckpointsFail", CHECKPOINTS, "0x60 0+5x300", "85m"),
    _named(
        "StateIncomplete",
        INCOMPLETE,
        "0x60 1x300",
        "80m",
        "Partition 3 of group stream-scorer knows less than its windows reach back",
        group="stream-scorer",
        partition="3",
    ),
    _named(
        "ModelRefused",
        REFUSED,
        "0x60 1x300",
        "62m",
        "The files of fraud:1.0.0 are not those that s:9464 has loaded: do not restart it",
        instance="s:9464",
        model="fraud",
        version="1.0.0",
    ),
    _after_an_hour("RecordsQuarantined", QUARANTINED, "0x60 2x300", "62m"),
    _named(
        "WorkersLeave",
        EXITS,
        "0x60 15x300",
        "70m",
        "15 workers of s:9464 left unasked (SIGKILL)",
        instance="s:9464",
        cause="SIGKILL",
    ),
    # Series that begin with what they count.
    Scenario(
        "a first worker leaves",
        {EXITS: "_x60 1x300"},
        {"59m": [], "62m": ["WorkersLeave"], "90m": []},
    ),
    Scenario(
        "nothing is scraped, after a worker has left",
        {EXITS: "1x60 _x20 1x200"},
        {"59m": [], "82m": [], "90m": [], "96m": []},
    ),
    Scenario(
        "nothing was scraped a day ago, after an inconclusive look",
        _days(60_000, 10) | {LOOKS: "1x141 _x5 1x300"},
        {"1400m": ["RolloutInconclusive"], "2880m": [], "2890m": [], "2900m": []},
        interval="10m",
    ),
    Scenario(
        "a first look is inconclusive",
        {LOOKS: "_x60 1x300"},
        {"59m": [], "62m": ["RolloutInconclusive"]},
    ),
    _after_an_hour("RecordsUnaccounted", UNACCOUNTED, "0x60 1x300", "62m"),
    Scenario(
        "RecordsUnaccounted",
        {MISSING: "0x60 2x300"},
        {"59m": [], "62m": ["RecordsUnaccounted"]},
        rendered=[
            _rendered(
                "RecordsUnaccounted",
                "75m",
                "2 input records of transactions, partition 3, group stream-scorer have no "
                "decision, no dead letter and no skip, or more than one of them",
                "page",
                group="stream-scorer",
                topic="transactions",
                partition="3",
            )
        ],
    ),
    _after_an_hour("RecordsUnaccounted", DOUBLED, "0x60 1x300", "62m"),
    _after_an_hour("ReconciliationStalled", COMPARED, "0+60x60 3600+0x300", "85m"),
    Scenario(
        "DeadLettersWait",
        _days(60_000, 10) | {OLDEST: "0+600x50 30000+0x450"},
        {"500m": [], "1920m": [], "1990m": ["DeadLettersWait"]},
        interval="10m",
    ),
    _after_an_hour("EventsOld", WATERMARK, "0+60x60 3600+0x300", "140m"),
    # Nothing is sent: old events are no news.
    Scenario(
        "no traffic",
        {WATERMARK: "0+60x60 3600+0x300", DECIDED: "0+1500x60 90000+0x300"},
        {"140m": []},
    ),
    _after_an_hour("RegistrySlow", REGISTRY_QUICK, "0+2x60 120+1x300", "80m"),
    # A single slow request of a quiet hour is not news.
    Scenario(
        "one slow request",
        {REGISTRY_QUICK: "2x300", **dict.fromkeys(REGISTRY, "2x60 3x240")},
        {f"{minute}m": [] for minute in range(59, 85, 3)},
    ),
    _after_an_hour("CheckpointStoreSlow", STORE_QUICK, "0+20x60 1200+10x300", "95m"),
    _after_an_hour("BrokersSlow", ROUND_TRIP, "0.004x60 0.9x300", "75m"),
    _after_an_hour("ClientsThrottled", THROTTLE, "0x60 0.3x300", "70m"),
    _named(
        "DiskFills",
        FREE,
        "5e9x60 5e8x300",
        "80m",
        "5% of the disk of /var/lib/stream-scorer is free at s:9464",
        instance="s:9464",
        path="/var/lib/stream-scorer",
    ),
    _named(
        "CertificateExpires",
        CERTIFICATE,
        "8640000x60 1000000x300",
        "125m",
        "The certificate server.pem of s:9464 expires in 11d 11h 41m 40s",
        instance="s:9464",
        file="server.pem",
    ),
    # A tenth of the transactions of the other group, which commits.
    _named(
        "TransactionsAbort",
        ABORTED,
        "0+1x60 60+400x300",
        "85m",
        "40% of the transactions of stream-scorer are aborted",
        group="stream-scorer",
    ),
    Scenario(
        "a quiet scorer aborts once",
        {COMMITTED: "0x300", ABORTED: "0x60 1x240"},
        {f"{minute}m": [] for minute in range(59, 90, 3)},
    ),
]
