"""librdkafka's C API with records as columns: no Python object per record, no GIL held."""
