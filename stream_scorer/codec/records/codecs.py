"""The codecs of a scorer: transactions in, decisions, summaries and shadow scores out."""

from dataclasses import dataclass

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.writing.encode import DecisionEncoder
from stream_scorer.codec.writing.shadow_scores import ShadowEncoder
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.settings import Settings


@dataclass(frozen=True, slots=True)
class Codecs:
    """The decoders and encoders of a scorer."""

    transactions: EventDecoders
    decisions: DecisionEncoder
    summaries: RecordCodec
    shadows: ShadowEncoder


def open_codecs(settings: Settings, registry: SchemaSource) -> Codecs:
    """Return the codecs of our schemas, with the registry's ids for them."""
    topics = settings.kafka.topics
    directory = settings.registry.directory
    decision, summary, shadow = (
        reader_schema(name, directory) for name in ("decision.v3", "summary.v4", "shadow-score.v2")
    )
    return Codecs(
        transactions=EventDecoders(registry, directory),
        decisions=DecisionEncoder(
            registry.id_for(f"{topics.decisions}-value", decision),
            decision,
            topics.transactions,
        ),
        summaries=RecordCodec(registry.id_for(f"{topics.summaries}-value", summary), summary),
        shadows=ShadowEncoder(
            registry.id_for(f"{topics.shadow_scores}-value", shadow), shadow, topics.transactions
        ),
    )
