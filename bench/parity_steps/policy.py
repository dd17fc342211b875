"""The same transactions under a label policy: what was blocked and has no label is unknown.

The model is the shipped one, as a bundle of the second feature engine: its risk of a terminal is
that of the known rows. A scorer and a profiler decide the stream, and wait for each other. What
they published is then the column ``outcome`` of the file, from which ``batch`` decides the same. So
does the core in memory, with rows by the rule alone. A second pass of the core, in which nothing is
unknown, must differ: otherwise the policy was not tested.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.arena import Arena
from bench.harness.script import missed
from bench.parity_steps.batch import Batch
from bench.parity_steps.input import build
from bench.parity_steps.labels import label
from bench.parity_steps.outcomes import Outcomes, Way, report
from bench.parity_steps.streams import MODEL, Traffic, Undisturbed, encoded
from stream_scorer.core.events.batch import Outcome
from stream_scorer.models.bundles.bundle import (
    CARD,
    PLOTS,
    REFERENCE,
    content_hash,
    read_manifest,
)
from stream_scorer.models.bundles.writer import write_copy
from stream_scorer.models.stores.deployment import Deployment, load_model, load_plan
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings

_POLICY = '\n[label_policy]\nunlabelled = "genuine"\n'
_ENGINE, _FORMAT_2 = 2, "1.1.1"


def second_engine(store: Path) -> Path:
    """Write the shipped version as a bundle of the second engine; return the store.

    It is a copy of the same model in format 2, under the version of the other ways.
    """
    name, _, version = MODEL.partition(":")
    shipped = MODELS_DIRECTORY / name / _FORMAT_2
    manifest = read_manifest(shipped)
    files = {
        file: (shipped / file).read_bytes()
        for file in manifest.files if file not in {CARD, PLOTS, REFERENCE}
    }  # fmt: skip
    content = content_hash(
        engine=_ENGINE, features=manifest.features, thresholds=manifest.thresholds,
        on_model_error=manifest.on_model_error, model=files[manifest.model_file],
        onnx=manifest.onnx,
    )  # fmt: skip
    changed = {"version": version, "engine": _ENGINE, "content_hash": content}
    write_copy(store, manifest.model_copy(update=changed), files)
    return store


class PolicyWays:
    """A stream, a batch job and the core, of the same rows.

    Args:
        arena: Where.
        events: How many rows.
        plan: The plan's file without a label policy.

    Attributes:
        traffic: The rows.
        settings: Registry and store.
        deployment: Model and plan.
    """

    def __init__(self, arena: Arena, events: int, plan: Path) -> None:
        self._arena = arena
        self._store = second_engine(arena.directory / "second")
        path = arena.directory / "policy.toml"
        path.write_text(plan.read_text() + _POLICY)
        self.deployment = Deployment(MODEL, path)
        self.settings: Settings = arena.settings.model_copy(
            update={"models": Models(directory=self._store)}
        )
        self._plan = path
        self._rows = build(events)
        self._labels = label(self._rows, load_plan(path))
        self.traffic: Traffic = encoded(self._rows, self._labels, arena.settings)
        model, _ = load_model(self.settings, self.deployment)
        self._width = len(model.features.names)
        self._faults: list[str] = []

    def streamed(self) -> Outcomes:
        """Run the stream; return what it published."""
        stream = Undisturbed(self._arena, self.traffic, self._plan, "policy", self._store)
        run = stream.run(self._width)
        self._faults = run.faults
        return run.outcomes

    def report(
        self, streamed: Outcomes, core: Outcomes, nothing_unknown: Outcomes
    ) -> dict[str, Any]:
        """Run the batch job; return the report.

        Args:
            streamed: What the stream published.
            core: The outcomes in memory.
            nothing_unknown: The same if nothing were unknown.
        """
        batch = Batch(
            self._arena, self._rows, self._labels, MODEL, self._plan, "policy-batch", self._store,
            streamed,
        ).run(self._width)  # fmt: skip
        every, compared = np.ones(len(self._rows), np.bool_), self._rows.compared
        ways = {
            "core": Way(core, every, compared), "stream": Way(streamed, every, compared),
            "batch": Way(batch, compared, self._rows.shared),
        }  # fmt: skip
        none = np.zeros(len(self._rows), np.bool_)
        document = report(core, ways, compared, none, np.zeros(self._width, np.bool_))
        for name in ("late", "late_rows", "late_rows_equal"):
            del document[name]
        differ = (core.features != nothing_unknown.features).any(axis=1)
        return document | {
            "blocked": int((streamed.decision == Outcome.BLOCK).sum()),
            "changed_by_unknown_rows": int((differ & compared).sum()),
            "faults": self._faults,
        }


def policy_failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    events = document["events"]
    counts = [
        (f"under a label policy, {way['way']}: {{}} {what}", count, "==", 0)
        for way in document["ways"]
        for what, count in (
            ("missing", way["missing"]), ("duplicates", way["duplicates"]),
            ("degraded", way["degraded"]),
            *((f"rows differ in {aspect}", unlike) for aspect, unlike in way["unlike"].items()),
        )
    ]  # fmt: skip
    return [
        *missed(
            ("under a label policy, {} features are equal", document["features_equal"], "==",
             events),
            ("under a label policy, {} scores are equal", document["scores_equal"], "==", events),
            ("{} events are changed by unknown rows", document["changed_by_unknown_rows"], ">=", 1),
            *counts,
        ),
        *(f"policy: {fault}" for fault in document["faults"]),
    ]  # fmt: skip
