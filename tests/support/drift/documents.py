"""A document of the monitor, made by hand: one version with two streams, an episode, a fault."""

import numpy as np

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.contract import Alarm, EpisodeState, Severity
from stream_scorer.drift.alarms.river_streams import RiverDetection
from stream_scorer.drift.alarms.stream_history import HISTORY
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.state.document import (
    ALARMED,
    WATCHED,
    Episode,
    MonitorDocument,
    MonitorProgress,
    OpenFault,
    VersionStreams,
)

HOUR = 3_600_000
START = 1_700_006_400_000
"""Start of the last window: 2023-11-15 00:00 UTC."""
SCORE = StreamKey("score", "level", "all")
AMOUNT = StreamKey("amount", "level", "channel=web")


def alarm(**changed: object) -> Alarm:
    """Return an alarm of the score's level, with some attributes changed."""
    values: dict[str, object] = {
        "event_id": "0123456789abcdef", "episode": "0123456789abcdef", "kind": "drift",
        "change": "opened", "severity": Severity.PAGE, "model": "fraud", "version": "2",
        "stream": SCORE.text, "field": "score", "segment": "all",
        "window_start": START, "window_end": START + HOUR, "onset": START - 2 * HOUR,
        "onset_low": START - 6 * HOUR, "onset_high": START, "before": 0.02, "after": 0.05,
        "delta": 0.002, "effect": 6.5, "labels": ("0.01", "0.1"), "before_counts": (90, 10),
        "after_counts": (60, 40), "log_e": 8.25, "guaranteed_error": 0.5,
        "calibrated_error": 0.4, "guaranteed": True, "observations": 200,
        "detector": "e_detector", "also": ((AMOUNT.text, 1.5),), "consequence_of": "",
        "snoozed": False, "detected_at": START + 2 * HOUR, "value": 0.05,
        "river": (RiverDetection("adwin", START, START - 2 * HOUR, 6.0),),
    }  # fmt: skip
    return Alarm(**{**values, **changed})  # type: ignore[arg-type]


def document() -> MonitorDocument:
    """Return the document."""
    residual = np.full((2, HISTORY), np.nan, np.float16)
    residual[:, -48:] = np.linspace(-2, 6, 96).reshape(2, 48)
    season = np.zeros((2, HISTORY), np.float16)
    start = np.full(HISTORY, -1)
    start[-48:] = START - HOUR * np.arange(47, -1, -1)
    streams = VersionStreams(
        model="fraud", version="2", reference="00112233445566ff", note="",
        keys=(SCORE, AMOUNT), classes=("", "not in the class: AR(1)"),
        state=np.array([ALARMED, WATCHED], np.uint8), learning_until=np.array([START, 0]),
        mean=np.array([0.02, 0.3]), value=np.array([0.05, np.nan]),
        tolerance=np.array([0.002, 0.01]), scale=np.array([0.0046, 0.02]),
        log_evidence=np.array([8.25, -np.inf]), share=np.array([0.75, 0.25]),
        since=np.array([START, START - 24 * HOUR]), history_start=start,
        centre=np.array([0.02, 0.3]), residual=residual, season=season,
        near_guaranteed=np.array([0.25, np.nan], np.float32),
        near_calibrated=np.array([0.5, 0.125], np.float32),
    )  # fmt: skip
    progress = MonitorProgress(
        detected_at=START + 2 * HOUR, watermark=START + HOUR, window_ms=HOUR,
        summaries_offset=120, commands_offset=3, gaps=1, overlaps=0, late=4, dropped=0,
        snooze_until=0, false_alarm_days=30.0, windows=720.0, guaranteed_windows=1440.0,
        calibrated_windows=1440.0, eta=0.05, patience=720.0, late_records=6,
    )  # fmt: skip
    fault = QualityFault(
        "missing", "country", "all", START, START + HOUR, 0.25, 0.01, float("inf"), open=True
    )
    return MonitorDocument(
        progress, (streams,),
        (Episode(alarm(), EpisodeState.OPEN, 0, "", ()),),
        (OpenFault("fedcba9876543210", "fraud", "2", fault),),
    )  # fmt: skip
