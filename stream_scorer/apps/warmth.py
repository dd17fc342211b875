"""Whether a model may decide on the histories that a partition came with."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from stream_scorer.core.scorer import Model
from stream_scorer.errors import NotWarmError
from stream_scorer.happenings import ColdAccepted, Listener
from stream_scorer.state.history import INPUT, Need, history


def needs_of(model: Model) -> list[tuple[str, Need]]:
    """Return the features of a model with what each needs of the rings."""
    features = model.features
    return list(zip(features.names, features.needs, strict=True))


class Warmth:
    """Judges the histories of each partition that is whole.

    What the input itself lacks is no matter of the model: it is served, and health says that it
    is degraded. What rings were kept without, for the version that decided before, is.

    Args:
        model: Decides.
        needs: Its features with what they need.
        accept_cold: Whether it may decide without history.
        listener: Told where it does.
    """

    def __init__(
        self,
        model: Model,
        needs: Sequence[tuple[str, Need]],
        listener: Listener,
        *,
        accept_cold: bool = False,
    ) -> None:
        self._name = f"{model.name}:{model.version}"
        self._lateness_ms = model.features.retention.lateness_ms
        self._needs = needs
        self._listener = listener
        self._accept_cold = accept_cold

    def judge(self, partition: int, since: Mapping[str, int], watermark: int) -> None:
        """Judge a partition's histories as they were restored.

        Args:
            partition: Input partition.
            since: By reason why history is missing, from which event time on it is whole, ms.
            watermark: Newest accepted event time, ms.

        Raises:
            NotWarmError: Features lack history; says which, and from when on they do not.
        """
        kept = {reason: ms for reason, ms in since.items() if reason != INPUT}
        told = history(self._needs, kept, watermark, self._lateness_ms)
        cold = [each for each in told if not each.covered]
        if not cold:
            return
        names = tuple(each.name for each in cold)
        warm_from = max(each.covered_from or 0 for each in cold)
        if self._accept_cold:
            self._listener(ColdAccepted(partition, names, warm_from))
            return
        moment = datetime.fromtimestamp(warm_from / 1_000, UTC).isoformat(sep=" ")
        raise NotWarmError(
            f"model {self._name} is warming: {', '.join(names)} lack history in partition "
            f"{partition}; it can serve from event time {moment}",
            "until then let the version before it decide, build the histories from the input "
            "(stream-scorer state rebuild), or take it as it is: --accept-cold",
        )
