"""Whether a model may decide with the histories that a partition was restored with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.calendar import shown_time
from stream_scorer.errors import NotWarmError
from stream_scorer.state.checkpoints.history_coverage import DEGRADING, history
from stream_scorer.telemetry import ColdAccepted, Listener, ModelWarming


@dataclass(frozen=True, slots=True)
class _Cold:
    """Features with missing history, and the event time from which none is missing, ms."""

    names: tuple[str, ...]
    warm_from: int


class Warmth:
    """Judges the histories of each partition whose state is complete.

    History that is missing because of the input or a smaller cap does not depend on the model: it
    decides, and health reports *degraded*. What the rings did not store for the version that
    decided before does depend on the model.

    Args:
        listener: Notified when a model decides without history, and of the next version's progress.
        accept_cold: Whether a model may decide without history.
        warming: The next version, whose fields and windows are already kept.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        accept_cold: bool = False,
        warming: Model | None = None,
    ) -> None:
        self._listener = listener
        self._accept_cold = accept_cold
        self._warming = warming

    def judge(
        self, partition: int, since: Mapping[str, int], watermark: int, model: Model | None
    ) -> None:
        """Judge a partition's histories as they were restored.

        Args:
            partition: Input partition.
            since: By reason why history is missing, the event time (ms) from which it is complete.
            watermark: Newest accepted event time, ms.
            model: The deciding model. None: nothing has decided here yet, and the first model is
                judged before it decides.

        Raises:
            NotWarmError: History is missing; names the features, and the time from which it is not.
        """
        kept = {reason: ms for reason, ms in since.items() if reason not in DEGRADING}
        if self._warming is not None:
            cold = _cold(self._warming, kept, watermark)
            self._listener(
                ModelWarming(
                    self._warming.name, self._warming.version, partition, cold.names, cold.warm_from
                )
            )
        if model is None or not (cold := _cold(model, kept, watermark)).names:
            return
        if self._accept_cold:
            self._listener(ColdAccepted(partition, cold.names, cold.warm_from))
            return
        raise NotWarmError(
            _said(model, partition, cold),
            "until then let the version before it decide, build the histories from the input "
            "(stream-scorer state rebuild), or take it as it is: --accept-cold",
        )

    def lacking(
        self, partition: int, since: Mapping[str, int], watermark: int, models: Iterable[Model]
    ) -> str:
        """Return why further models may not decide a partition that is held; empty if they may.

        Args:
            partition: Input partition.
            since: As in ``judge``, but current.
            watermark: Newest accepted event time, ms.
            models: The further models.
        """
        if self._accept_cold:
            return ""
        kept = {reason: ms for reason, ms in since.items() if reason not in DEGRADING}
        said = (_said(model, partition, _cold(model, kept, watermark)) for model in models)
        return next((each for each in said if each), "") if kept else ""


def _said(model: Model, partition: int, cold: _Cold) -> str:
    if not cold.names:
        return ""
    moment = shown_time(cold.warm_from)
    return (
        f"model {model.name}:{model.version} is warming: {', '.join(cold.names)} have too "
        f"little history in partition {partition}; it can serve from event time {moment}"
    )


def _cold(model: Model, since: Mapping[str, int], watermark: int) -> _Cold:
    features = model.features
    told = history(
        list(zip(features.names, features.needs, strict=True)),
        since,
        watermark,
        features.retention.lateness_ms,
    )
    cold = [each for each in told if not each.covered]
    return _Cold(
        tuple(each.name for each in cold), max((each.covered_from or 0 for each in cold), default=0)
    )
