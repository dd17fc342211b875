"""Encode what shadows would have decided."""

from stream_scorer.codec.writing.encode import Choice, ColumnEncoder, Constant
from stream_scorer.core.decision.decide_batch import ShadowScores
from stream_scorer.core.events.batch import Outcome
from stream_scorer.ports import BytesColumn


class ShadowEncoder:
    """Encodes shadows' scores for the topic ``shadow-scores``.

    Args:
        schema_id: The schema's id.
        schema: The shadow-score schema.
        source_topic: Topic of the transactions.
    """

    def __init__(self, schema_id: int, schema: str, source_topic: str) -> None:
        self._encoder = ColumnEncoder(schema_id, schema)
        self._source_topic = Constant(source_topic)
        self._outcomes = self._encoder.pieces(
            "champion_policy_outcome", [outcome.name for outcome in Outcome]
        )

    def encode(self, shadowed: ShadowScores) -> BytesColumn:
        """Encode the scores, row for row."""
        events = shadowed.events
        records = events.records
        return self._encoder.encode(
            {
                "source_topic": self._source_topic,
                "source_partition": events.partition,
                "source_offset": events.offset,
                "transaction_id": records.column("transaction_id"),
                "customer_id": records.column("customer_id"),
                "terminal_id": records.column("terminal_id"),
                "event_time": events.int64("event_time"),
                "amount_minor": events.int64("amount_minor"),
                "currency": records.column("currency"),
                "arm": Constant(shadowed.arm),
                "model": Constant(shadowed.model),
                "model_version": Constant(shadowed.version),
                "score": shadowed.score,
                "decision": shadowed.outcome,
                "champion_score": shadowed.decided_score,
                "champion_decision": shadowed.decided_outcome,
                "champion_policy_outcome": Choice(shadowed.decided_policy, self._outcomes),
                "outcome_propensity": shadowed.decided_chance,
                "plan_revision": Constant(shadowed.plan_revision),
                "failed": shadowed.failed,
            },
            len(events),
        )
