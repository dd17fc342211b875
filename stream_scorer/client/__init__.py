"""Reading decisions from Python: as records, or as Arrow columns."""

from stream_scorer.client.decision import Decision, Explanation
from stream_scorer.client.topic import DecisionTopic, Start, UnreadableRecord

__all__ = ["Decision", "DecisionTopic", "Explanation", "Start", "UnreadableRecord"]
