"""The reference decoder with which every other one is compared."""

from stream_scorer.codec.reading.decode import ColumnDecoder, Writer


class SureDecoder(ColumnDecoder):
    """Decodes everything with fastavro."""

    def _prepare(self, schema_id: int, text: str) -> Writer | str:
        writer = super()._prepare(schema_id, text)
        if not isinstance(writer, str):
            writer.projection = None
        return writer
