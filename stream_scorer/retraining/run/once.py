"""One retraining for a person or for cron, done here to its end."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from stream_scorer.errors import RolloutError
from stream_scorer.kafka.topics.groups import members
from stream_scorer.retraining.rules.contract import RetrainRules
from stream_scorer.retraining.rules.rules_file import chosen_rules
from stream_scorer.retraining.rules.triggers import guards
from stream_scorer.retraining.run.process import LOOK_SECONDS, Trainer, told
from stream_scorer.retraining.run.state_files import RunStore, document_of
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Listener


def retrain_once(
    settings: Settings, rules: Path | None, reason: str, listener: Listener
) -> dict[str, Any]:
    """Do one retraining for a person, to its end; or ask the process that runs here for it.

    Args:
        settings: The cluster, the store and the key.
        rules: As for :func:`~stream_scorer.retraining.run.process.run_retraining`.
        reason: Why, for people.
        listener: Notified of all events.

    Returns:
        The run's document, or that a process was asked.

    Raises:
        RolloutError: A guard holds it back, or a trainer runs on another host.
        StreamScorerError: It cannot run.
    """
    own, read = settings.of_process("retrain"), chosen_rules(settings, rules)
    store = RunStore(own.retrain.directory)
    with store.locked() as mine:
        asked = store.ask(reason)
        if not mine:
            return {"asked": True, "reason": reason}
        try:
            with closing(Trainer(own, read, store, listener)) as trainer:
                _refuse_another(own.kafka)
                _to_its_end(trainer, store, read)
        finally:
            # What ends with an error is not asked for again by the next process.
            store.withdraw(asked)
        return document_of(store.history()[-1])


def _refuse_another(kafka: Kafka) -> None:
    """Refuse to run next to a trainer of another host: both would make the same version."""
    names = sorted(name for _, name in members(kafka, kafka.group))
    if names:
        raise RolloutError(
            f"retraining is held back: the trainer {', '.join(names)} runs on another host",
            "call retrain once there, or end it",
        )


def _to_its_end(trainer: Trainer, store: RunStore, rules: RetrainRules) -> None:
    if store.current() is None and not trainer.turn():
        found = trainer.situation()
        onset = found.alarm.onset_ms if found.alarm is not None else 0
        results = guards(found, rules, onset)
        raise RolloutError(
            "retraining is held back: "
            + "; ".join(told(each) for each in results if not each.passed),
            "see stream-scorer retrain status",
        )
    while store.current() is not None:
        if not trainer.turn():
            time.sleep(LOOK_SECONDS)
