"""Pure concept drift, from the alarm to the promotion of a retrained version, without a person.

A city's inputs keep their distribution, and on one day its frauds change their meaning. One scorer,
performance, monitor, controller and trainer run on a real broker. A 5 % random sample of the
transactions has its label after a day; frauds are reported within six days. Scorer, trainer and
monitor are each killed once with SIGKILL. The simulated time waits for the scorer, and while the
trainer trains: a day has time for that.

- ``alarm_days``, ``alarm_days_early_labels``: event days from the drift to the alarm, by matured
  labels alone (a second performance process without the sample), and with the random sample.
- ``feature_pages``: pages of the monitor from the drift on, which must be none.
- ``ap_before``, ``ap_after_drift``, ``ap_recovered``: average precision of the published scores by
  the simulator's truth; ``ap_oracle``: of the same estimator, trained on the first days after the
  drift with all true labels, on the days of ``ap_recovered``.
- ``retrains_null``: retrainings of the same ``retrain.toml`` in 100 days without a drift, without a
  broker; ``early_frauds_alarms_null``: alarms that early labels of frauds, drawn or not, add there;
- ``label_path_null``: how many of 1,000 simulated cities, whose frauds come in bursts, warn within
  100 days by the same tolerance and budget (``bench/performance_steps/null.py``).
"""

import json
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score

from bench.harness.script import Number, Script, missed, say, table
from bench.performance_steps.null import false_alarms
from bench.retrain_steps.city import DAY_MS, FEATURES, MATURITY_DAYS, City
from bench.retrain_steps.null import nulls
from bench.retrain_steps.plot import svg
from bench.retrain_steps.rules import RULES
from bench.retrain_steps.stage import Stage
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.granted_plans import champion_of
from stream_scorer.rollout.plan.judging_rules import ControllerRules, Rules
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.training.days import Days, Split
from stream_scorer.training.run import TrainingJob, train

DRIFT_DAY = 50
LAST_DAY = 108
_HISTORY = 45
_TRAIN_SECONDS = 300.0
_GUARD = {
    "maturity_seconds": MATURITY_DAYS * 86_400, "least_frauds": 50, "least_pairs": 100,
    "delta": 0.3, "slow_call_us": 1e6, "deadline_seconds": 4_000 * 86_400,
}  # fmt: skip


def champion(stage: Stage, city: City) -> Manifest:
    """Train the first version on the days before day 0."""
    file = stage.directory / "history.parquet"
    days = [city.day(number) for number in range(-_HISTORY, 0)]
    rows = pa.concat_tables([day.table for day in days])
    known = pa.array(rows["event_time"].cast(pa.int64()).to_numpy() + 1, pa.timestamp("ms"))
    pq.write_table(rows.append_column("label_time", known), file)
    features = stage.directory / "features.json"
    features.write_text(json.dumps(FEATURES))
    stage.store.mkdir()
    (stage.store / "fraud").mkdir()
    plan = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text()
    (stage.store / "fraud" / "plan.toml").write_text(plan)

    def between(first: int, last: int) -> Days:
        return Days.parse(f"{city.date(first)}:{city.date(last)}")

    split = Split(between(-_HISTORY, -11), between(-10, -6), between(-5, -1), matured=True)
    job = TrainingJob(
        data=file, model="hist_gradient_boosting", version="1.0.0", store=stage.store,
        split=split, features=features, resamples=0,
    )  # fmt: skip
    return train(job)[1]


def begin(stage: Stage, manifest: Manifest) -> None:
    """Write the first plan and the grant, and start all processes."""
    stage.rules.write_text(RULES)
    shared = {"name": "first", "strategy": "champion", "versions": {"champion": manifest.label}}
    stage.give(CommandKind.PLAN, plan_of(shared))
    may = ControllerRules(key=stage.public("controller"), may=("step", "rollback", "promote"))
    expires = datetime.now(UTC) + timedelta(days=1)
    stage.give(CommandKind.GRANT, RetrainGrant(
        key=stage.public("trainer"), model=manifest.name, feature_sets=(manifest.feature_set,),
        share=50.0, promote=True, expires_at=round(expires.timestamp() * 1_000),
        cooldown_seconds=0, guard=Rules.model_validate(_GUARD), controller=may,
    ))  # fmt: skip
    stage.start("scorer", "run", "--from", "earliest")
    stage.start("monitor", "monitor", "--from", "earliest")
    stage.start("controller", "controller")
    stage.start("performance", "performance")
    stage.start("matured", "performance", performance={
        "group": "matured", "state": str(stage.directory / "matured.sqlite"),
        "trust_declared_draws": "false",
    }, kafka={"topics": {"performance": "matured.performance",
                         "drift_events": "matured.drift-events"}})  # fmt: skip
    stage.start("trainer", "retrain", "run")


def under_way(stage: Stage) -> str:
    """Return the step of the retraining that is under way; empty without one."""
    try:
        return str(json.loads((stage.directory / "retrain" / "run.json").read_text())["step"])
    except (FileNotFoundError, ValueError):
        return ""


def live(stage: Stage, city: City, seconds: float) -> dict[str, Any]:
    """Let all days pass; return what was seen on the way."""
    seen: dict[str, Any] = {"promoted_day": None, "proposed_day": None, "trained_day": None}
    kills = {20: "scorer", 35: "monitor"}
    killed = False
    for number in range(LAST_DAY + 1):
        began = time.monotonic()
        stage.send(city, number)
        stage.until(lambda: stage.decided() >= stage.sent, f"day {number} is decided")
        if number in kills:
            stage.kill(kills[number])
        time.sleep(max(seconds - (time.monotonic() - began), 0.0))
        step, deadline = under_way(stage), time.monotonic() + _TRAIN_SECONDS
        if step and seen["trained_day"] is None:
            seen["trained_day"] = number
            say(f"day {number}: a retraining began")
        while (step := under_way(stage)) in {"triggered", "dataset", "search", "fit", "gate",
                                             "bundle"}:  # fmt: skip
            if not killed:
                stage.kill("trainer")
                killed = True
            stage.alive()
            if time.monotonic() > deadline:
                raise SystemExit(f"the retraining is at {step} after {_TRAIN_SECONDS:.0f} s")
            time.sleep(0.05)
        state = stage.log.refresh()
        if state.trained and seen["proposed_day"] is None:
            seen["proposed_day"] = number
            say(f"day {number}: proposed {', '.join(state.trained)}")
        if champion_of(state) in state.trained and seen["promoted_day"] is None:
            seen["promoted_day"] = number
            say(f"day {number}: promoted {champion_of(state)}")
        if number % 10 == 0:
            say(f"day {number}, champion {champion_of(state)}, {under_way(stage) or 'no'} run")
    return seen | {"restarts": dict(stage.restarts)}


def alarms(stage: Stage, topic: str, city: City) -> list[dict[str, Any]]:
    """Return the drift events of a topic.

    ``day`` is the end of the window, ``told`` the day up to which the city had sent its records
    when those that showed the change had come.
    """
    reader = RecordReader(stage.settings.registry, "drift-event.v3")
    found = []
    for message in read_all(stage.settings.kafka, topic):
        row = reader.decode(message.value())
        end = row["window_end"].timestamp() * 1_000
        told = stage.event_time(row["detected_at"].timestamp() * 1_000)
        found.append({
            "kind": row["kind"], "severity": row["severity"], "version": row["model_version"],
            "signal": row["signal"], "detector": row["detector"], "change": row["change"],
            "day": round((end - city.first_ms) / DAY_MS, 2),
            "told": round((told - city.first_ms) / DAY_MS, 2),
        })  # fmt: skip
    return found


def scores(stage: Stage) -> dict[str, tuple[float, str]]:
    """Return score and version of each published decision, by transaction."""
    reader = RecordReader(stage.settings.registry, "decision.v3")
    found: dict[str, tuple[float, str]] = {}
    for message in read_all(stage.settings.kafka, stage.settings.kafka.topics.decisions):
        row = reader.decode(message.value())
        if row["transaction_id"] in found:
            raise SystemExit(f"{row['transaction_id']} was decided twice")
        found[row["transaction_id"]] = row["score"], row["model_version"]
    return found


def precision(city: City, found: dict[str, tuple[float, str]], days: range) -> float:
    """Return the average precision of the published scores on days."""
    fraud, score = [], []
    for number in days:
        day = city.day(number)
        ids = day.table["transaction_id"].to_pylist()
        fraud.append(day.fraud)
        score.append(np.array([found[each][0] for each in ids]))
    return round(float(average_precision_score(np.concatenate(fraud), np.concatenate(score))), 4)


def oracle(city: City, days: range, drift: int) -> float:
    """Return the average precision of a model that was trained at the change with the truth."""
    rows = [city.day(number) for number in range(drift, drift + 7)]
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    model.fit(np.concatenate([r.features for r in rows]), np.concatenate([r.fraud for r in rows]))
    test = [city.day(number) for number in days]
    score = model.predict_proba(np.concatenate([r.features for r in test]))[:, 1]
    return round(float(average_precision_score(np.concatenate([r.fraud for r in test]), score)), 4)


def measure(rows: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Run the city; return the report."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=LAST_DAY + 5)
    city = City(round(first.timestamp() * 1_000), DRIFT_DAY, rows)
    with Stage(folder) as stage:
        from confluent_kafka.admin import AdminClient, NewTopic  # noqa: PLC0415 for two topics

        admin = AdminClient({"bootstrap.servers": stage.settings.kafka.bootstrap})
        for future in admin.create_topics([
            NewTopic(f"matured.{name}", 1, 1) for name in ("performance", "drift-events")
        ]).values():  # fmt: skip
            future.result()
        say("train the champion")
        begin(stage, champion(stage, city))
        seen = live(stage, city, seconds)
        time.sleep(3 * seconds + 3)
        early = alarms(stage, stage.settings.kafka.topics.drift_events, city)
        matured = alarms(stage, "matured.drift-events", city)
        found = scores(stage)
        history = stage.directory / "retrain" / "history.jsonl"
        runs = [json.loads(line) for line in history.read_text().splitlines()] if (
            history.exists()
        ) else []  # fmt: skip
        promoted = seen["promoted_day"]
        after = range((promoted or LAST_DAY - 20) + 1, LAST_DAY + 1)
        by_day = [precision(city, found, range(day, day + 1)) for day in range(LAST_DAY + 1)]
        return seen | {
            "decisions": len(found), "sent": stage.sent,
            "ap_before": precision(city, found, range(30, DRIFT_DAY)),
            "ap_after_drift": precision(city, found, range(DRIFT_DAY, DRIFT_DAY + 10)),
            "ap_recovered": precision(city, found, after) if after else None,
            "ap_oracle": oracle(city, after, DRIFT_DAY) if after else None,
            "feature_pages": sum(
                each["severity"] == "page" and each["kind"] != "performance"
                and each["version"] == "1.0.0" and each["day"] > DRIFT_DAY for each in early
            ),
            "alarm_days_early_labels": _days(early), "alarm_days": _days(matured),
            "ap_by_day": by_day,
            "runs": [{n: run[n] for n in ("number", "step", "trigger", "reason")} for run in runs],
            "commands": [each.command.kind for each in stage.log.log.commands if each.command],
        }  # fmt: skip


def _days(found: list[dict[str, Any]]) -> float | None:
    """Return the days from the drift to the first warning of the champion's loss."""
    days = [
        each["told"] for each in found
        if each["kind"] == "performance" and each["change"] == "opened"
        and each["version"] == "1.0.0"
    ]  # fmt: skip
    return round(min(days) - DRIFT_DAY, 2) if days else None


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""

    def number(name: str) -> float:
        value = document[name]
        return float("nan") if value is None else float(value)

    return missed(
        ("feature pages: {}", document["feature_pages"], "==", 0),
        ("days to the alarm by matured labels: {}", number("alarm_days"), "<=", MATURITY_DAYS + 2),
        (
            "days to the alarm with a random sample: {}", number("alarm_days_early_labels"), "<=",
            0.5 * number("alarm_days"),
        ),
        (
            "average precision after the promotion: {}", number("ap_recovered"), ">=",
            0.95 * number("ap_oracle"),
        ),
        ("decisions that are missing: {}", document["sent"] - document["decisions"], "==", 0),
        ("retrainings without a drift: {}", document["retrains_null"], "<=", 1),
        ("alarms of early frauds alone: {}", document["early_frauds_alarms_null"], "==", 0),
        (
            "cities that warn without a change: {}", document["label_path_null"]["false_alarms"],
            "<=", document["label_path_null"]["bound"],
        ),
        (
            "cities that warn without a change, with a random sample: {}",
            document["label_path_null"]["false_alarms_with_draws"], "<=",
            document["label_path_null"]["bound"],
        ),
        ("processes that were killed: {}", len(document["restarts"]), "==", 3),
        ("promotions: {}", document["commands"].count("promote"), "==", 1),
    )  # fmt: skip


def main() -> int:
    script = Script(
        __doc__, "fewer transactions a day",
        rows=Number(3_900, 1_000, "transactions a day"),
        seconds=Number(2.0, 0.8, "seconds of a simulated day, at least"),
        cities=Number(1_000, 100, "cities without a change"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory("-retrain") as folder:
        found = measure(script.options.rows, script.options.seconds, Path(folder))
    found |= nulls(script.options.rows, RULES, script.options.seconds)
    found["label_path_null"] = false_alarms(script.options.cities, 100)
    plot = svg(found["ap_by_day"], DRIFT_DAY, found)
    if not script.quick:
        Path("retrain.svg").write_text(plot)
    names = (
        "ap_before", "ap_after_drift", "ap_recovered", "ap_oracle", "feature_pages", "alarm_days",
        "alarm_days_early_labels", "retrains_null", "trained_day", "proposed_day", "promoted_day",
    )  # fmt: skip
    return script.conclude(
        found,
        failures(found),
        table("Concept drift", "what", "value", rows=((name, found[name]) for name in names)),
        *(f"run {run['number']}: {run['step']}, {run['reason']}" for run in found["runs"]),
    )


if __name__ == "__main__":
    sys.exit(main())
