"""Opens the store of a group's checkpoint: a folder, an object store, or the state topic."""

from stream_scorer.ports import CheckpointStore
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.record_mac import read_seal
from stream_scorer.state.stores.file_store import FileStore
from stream_scorer.state.stores.topic_store import TopicStore
from stream_scorer.telemetry import Listener


def owner_of(settings: Settings) -> Owner:
    """Return the owner of the checkpoint, with the MAC keys of its records.

    Raises:
        SettingsError: The keys cannot be read.
    """
    state = settings.state
    seal = read_seal(state.mac_key_file, required=state.mac_required)
    return Owner(settings.kafka.group, settings.kafka.topics.transactions, seal)


def store_of(
    settings: Settings, owner: Owner, listener: Listener = lambda _: None
) -> CheckpointStore:
    """Return the store of the checkpoint.

    Args:
        settings: The cluster, and ``state.url``.
        owner: The owner of the state.
        listener: Notified of records of the state topic that are left out.

    Raises:
        SettingsError: The URL cannot be used.
    """
    if settings.state.url:
        return FileStore(settings.state.url, owner)
    return TopicStore(settings.kafka, owner, listener)


def topic_of(
    settings: Settings, owner: Owner, store: CheckpointStore, listener: Listener = lambda _: None
) -> TopicStore:
    """Return the state topic, which has the rejections, wherever the buckets are.

    Only a topic can be written in the transaction of the batch that rejects.
    """
    return store if isinstance(store, TopicStore) else TopicStore(settings.kafka, owner, listener)
