"""The groups of settings: ``stream_scorer.settings`` has them all."""
