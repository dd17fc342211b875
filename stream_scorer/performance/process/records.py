"""What performance publishes: records of windows, and early warnings as drift events."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from stream_scorer.performance.measures.contract import ALL, Float64, Measured, WindowKey
from stream_scorer.performance.warning.contract import DayLoss, LossReference, Warned

ESTIMATOR = "Horvitz-Thompson"
"""How blocked transactions are weighted (Horvitz and Thompson, 1952)."""
SIGNAL = "loss/day@all"
"""The signal of an early warning's drift event."""
FIELD = "loss"
_DAY_MS = 86_400_000


def window_record(
    measured: Measured, kind: str, policy: str, detected_at: int, river: Mapping[str, str]
) -> dict[str, Any]:
    """Return the fields of a day's or a week's record.

    Args:
        measured: What was measured.
        kind: ``DAY`` or ``WEEK``.
        policy: What counts for transactions without a label; empty without a policy.
        detected_at: Largest Kafka timestamp of the records that closed the window, ms.
        river: State of each detector of River by name.
    """
    return {
        **_key(measured.key, kind),
        "rows": measured.rows,
        "frauds": measured.frauds,
        "genuine": measured.genuine,
        "unknown": measured.unknown,
        "effective": measured.effective,
        "outside": measured.outside,
        "sampled": measured.sampled,
        "measures": {
            name: {
                "value": _number(value),
                "low": _number(measured.low.get(name)),
                "high": _number(measured.high.get(name)),
            }
            for name, value in measured.values.items()
        },
        "calibration": _bands(measured.calibration),
        "river": dict(river),
        "estimator": ESTIMATOR,
        "label_policy": policy,
        "detected_at": detected_at,
    }


def loss_record(
    day: DayLoss, log_e: Mapping[str, float], policy: str, detected_at: int
) -> dict[str, Any]:
    """Return the fields of a day of the early warning.

    Args:
        day: Its loss.
        log_e: Logarithms of the evidence by class; empty while the usual level is learned.
        policy: As in :func:`window_record`.
        detected_at: Likewise.
    """
    return {
        **_key(day.key, "LOSS"),
        "rows": day.rows,
        "loss": _number(day.loss),
        "powered": _number(day.powered),
        "drawn": day.drawn,
        "drawn_missing": day.missing,
        "log_e_guaranteed": _number(log_e.get("guaranteed")),
        "log_e_gaussian": _number(log_e.get("gaussian")),
        "estimator": ESTIMATOR,
        "label_policy": policy,
        "detected_at": detected_at,
    }


def warning_event(
    warned: Warned, reference: LossReference, alpha: float, detected_at: int
) -> dict[str, Any]:
    """Return the fields of an early warning's drift event.

    Args:
        warned: The warning.
        reference: The usual level.
        alpha: Budget of the kind of evidence that warned.
        detected_at: As in :func:`window_record`.
    """
    key = warned.key
    named = (key.model, key.version, "performance", SIGNAL, str(key.end), "opened")
    event_id = hashlib.sha256("\0".join(named).encode()).hexdigest()[:16]
    sure = warned.klass == "guaranteed"
    detector = "powered" if warned.klass == "powered" else f"e-process:{warned.klass}"
    return {
        "detected_at": detected_at,
        "window_start": key.start,
        "window_end": key.end,
        "signal": SIGNAL,
        "detector": detector,
        "model": key.model,
        "model_version": key.version,
        "value": warned.loss,
        "reference": reference.mean,
        "estimate": warned.loss,
        "observations": max((key.end - warned.onset) // _DAY_MS, 1),
        "event_id": event_id,
        "episode": event_id,
        "kind": "performance",
        "change": "opened",
        "severity": "page" if key.segment == ALL else "warn",
        "field": FIELD,
        "segment": key.segment,
        "onset": warned.onset,
        "onset_low": warned.onset,
        "onset_high": key.end,
        "effect": (warned.loss - reference.mean) / reference.scale,
        "tolerance": warned.tolerance,
        "log_evidence": warned.log_e,
        "guaranteed_error": alpha if sure else None,
        "calibrated_error": None if sure else alpha,
        "guaranteed": sure,
    }


def _key(key: WindowKey, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "model": key.model,
        "model_version": key.version,
        "arm": key.arm,
        "segment": key.segment,
        "start": key.start,
        "end": key.end,
    }


def _bands(calibration: Float64) -> list[dict[str, float | None]]:
    return [
        {"score": _number(score), "fraud_share": _number(share), "weight": weight}
        for score, share, weight in calibration.tolist()
    ]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
