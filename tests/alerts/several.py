"""Several lag processes in one cluster, and two clusters with groups of the same names."""

from tests.alerts.promtool import Scenario, Series

_VERDICT = "stream_scorer_group_worst_verdict"


def lag_process(
    instance: str,
    rates: tuple[int, int] = (6_000, 1),
    *,
    job: str = "kafka",
    watched: str = "stream-scorer",
    begins: int = 0,
    ends: int = 200,
) -> Series:
    """Return the series of a lag process that counts the scorers' records.

    Args:
        instance: Its address.
        rates: Records that were decided in time, and late ones, a minute.
        job: Its cluster.
        watched: The group that it judges.
        begins: When it starts, minutes.
        ends: When it ends.
    """
    at = f'job="{job}",instance="{instance}"'
    counted = f'{at},group="stream-scorer",topic="transactions"'
    counts = {
        f'stream_scorer_slo_records_total{{{counted},result="good"}}': (0, rates[0]),
        f'stream_scorer_slo_records_total{{{counted},result="bad"}}': (0, rates[1]),
        f"stream_scorer_slo_time_seconds{{{counted}}}": (60 * begins, 60),
        f"stream_scorer_lag_pass_time_seconds{{{at}}}": (60 * begins, 60),
        f'{_VERDICT}{{{at},group="{watched}",verdict="OK"}}': (1, 0),
    }
    before = f"_x{begins} " if begins else ""
    return {
        series: f"{before}{first}+{step}x{ends - begins} stale"
        for series, (first, step) in counts.items()
    }


_ABSENT = ["LagProcessAbsent"]
_LEAVES = {**lag_process("a:9464"), **lag_process("b:9464", watched="other", ends=60)}
_SMALL = (
    'stream_scorer_slo_records_total{{job="small",instance="b:9464",group="stream-scorer",'
    'topic="transactions",result="{}"}}'
)

SEVERAL = [
    # Nothing judges the other group any more, although all records are counted as before.
    Scenario(
        "one of two lag processes is gone", _LEAVES, {"59m": [], "67m": _ABSENT, "110m": _ABSENT}
    ),
    Scenario(
        "a lag process moves to another address",
        {**_LEAVES, **lag_process("c:9464", watched="other", begins=62)},
        {"59m": [], "67m": [], "110m": []},
    ),
    Scenario(
        "the only lag process is gone",
        lag_process("a:9464", ends=60),
        {"59m": [], "67m": _ABSENT, "110m": _ABSENT, "121m": _ABSENT, "190m": _ABSENT},
    ),
    # A group that was deleted, by a lag process that stays.
    Scenario(
        "a group is gone",
        {
            **lag_process("a:9464"),
            f'{_VERDICT}{{job="kafka",instance="a:9464",group="old",verdict="OK"}}': "1x60 stale",
        },
        {"59m": [], "67m": [], "110m": []},
    ),
    # The group of the scorers has another name; the lag process was started again at its address.
    Scenario(
        "another group is counted",
        {
            **lag_process("a:9464"),
            'stream_scorer_slo_time_seconds{job="kafka",instance="a:9464",group="old",'
            'topic="transactions"}': "0+60x60 stale",
        },
        {"59m": [], "67m": [], "110m": []},
    ),
    # 0.5 % of the records that both processes counted are late.
    Scenario(
        "a lag process moves, and then some are late",
        {
            **lag_process("a:9464", (6_000, 0), ends=60),
            **lag_process("c:9464", (5_870, 130), begins=61),
        },
        {"80m": ["BudgetBurns"]},
    ),
    # 600 records an hour are too few to page, by whichever number of processes they are counted.
    Scenario(
        "two lag processes count a quiet night",
        {**lag_process("a:9464", (8, 2)), **lag_process("b:9464", (8, 2))},
        {"62m": [], "80m": [], "95m": []},
    ),
    # One in a hundred records of both clusters, and all of the small one.
    Scenario(
        "the scorers of the smaller cluster stop",
        {
            **lag_process("a:9464", (60_000, 1), job="large"),
            **lag_process("b:9464", job="small"),
            _SMALL.format("good"): "0+600x60 36000x140",
            _SMALL.format("bad"): "0x60 0+600x140",
        },
        {"59m": [], "65m": ["BudgetBurns", "DecisionsLate"]},
    ),
]
