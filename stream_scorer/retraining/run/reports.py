"""``retrain status`` and ``retrain history``."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.retraining.rules.rules_file import chosen_rules
from stream_scorer.retraining.rules.schedule import next_due
from stream_scorer.retraining.rules.triggers import guards, wanted
from stream_scorer.retraining.run.contract import ENDED
from stream_scorer.retraining.run.evidence import read_faults
from stream_scorer.retraining.run.process import now_ms, situation_of
from stream_scorer.retraining.run.proposals import grant_of
from stream_scorer.retraining.run.state_files import RunStore, document_of
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.security.keys import key_id, signing_key
from stream_scorer.settings import Settings


def status(settings: Settings, rules: Path | None) -> dict[str, Any]:
    """Return the state of the trainer of this host, what it waits for, and its grant.

    Args:
        settings: The cluster, the folder and the key.
        rules: ``retrain.toml``; None: the one that the settings name.

    Raises:
        StreamScorerError: A topic, the rules or the key cannot be read.
    """
    read, store = chosen_rules(settings, rules), RunStore(settings.retrain.directory)
    key = signing_key(settings.retrain.key, settings.retrain.passphrase)
    named = "" if key is None else key_id(key.public_key())
    log = ControlLog(settings)
    with closing(log):
        state = read_patiently(log.refresh)
    found = situation_of(settings, state, read, store, named, now_ms())
    found = replace(found, faults=read_faults(settings))
    run, history, trigger = _under_way(store), store.history(), wanted(found, read)
    granted = grant_of(state, named)
    results = guards(found, read, 0 if trigger is None else trigger.onset_ms)
    return {
        "state": "training" if run else "held" if trigger else "idle",
        "run": None if run is None else run["number"],
        "step": None if run is None else run["step"],
        "trigger": run["trigger"] if run else trigger.kind if trigger else None,
        "reason": run["reason"] if run else trigger.reason if trigger else "",
        "since": None if run is None else run["began_at"],
        "next_schedule": next_due(read.schedule, found.now_ms) if read.schedule else None,
        "grant": None if granted is None else {
            "number": granted[0], "expires_at": granted[1].grant.expires_at,
            "share": granted[1].grant.share, "promote": granted[1].grant.promote,
            "revoked": bool(granted[1].revoked),
        },
        "key_id": named,
        "guards": [
            {"name": each.name, "passed": each.passed, "value": each.value, "needed": each.needed}
            for each in results
        ],
        "champion": found.champion,
        "last": None if not history else {
            "number": history[-1].number, "result": history[-1].step, "reason": history[-1].reason,
        },
    }  # fmt: skip


def _under_way(store: RunStore) -> dict[str, Any] | None:
    run = store.look()
    return None if run is None or run.step in ENDED else document_of(run)


def history_of(settings: Settings) -> list[dict[str, Any]]:
    """Return the runs of this host that have ended, oldest first."""
    return [document_of(run) for run in RunStore(settings.retrain.directory).history()]
