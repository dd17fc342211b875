"""``python -m tests.recorded.record TREE``: record what another tree of the project writes.

Run it for a released version before the next one changes a format or a name. The tree is a checkout
of that version, such as ``git worktree add --detach ../before TAG``, and needs no separate
environment. It takes some minutes, and writes ``version-before.xz`` and the commands in
``json_keys.json``. Write the tree's commit into ``recording.py``.
"""

import argparse
import json
import tempfile
from pathlib import Path

from confluent_kafka.admin import AdminClient

from stream_scorer.kafka.topics.client_options import common
from stream_scorer.settings import Kafka, Topics
from tests.recorded.recording import DEMO, Record, read_records
from tests.recorded.session import Tree, broker, change, with_broker, without_broker

_HERE = Path(__file__).parent
_KEYS = _HERE / "json_keys.json"


def demo(tree: Tree, kafka: Kafka) -> list[Record]:
    """Run the demo; return its drift events."""
    tree.ask("demo", "--quick", "--bootstrap", kafka.bootstrap)
    topics = AdminClient(common(kafka)).list_topics(timeout=10).topics
    (topic,) = (
        name for name in topics if name.startswith("demo-") and name.endswith(Topics().drift_events)
    )
    return read_records(kafka, topic)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tree", type=Path, help="root of the tree that is recorded")
    root = parser.parse_args().tree.resolve()
    with tempfile.TemporaryDirectory(prefix="recorded-") as name:
        tree, alone = (Tree(root, Path(name)) for _ in range(2))
        without_broker(tree)
        with broker(tree) as bootstrap:
            recording = with_broker(tree, bootstrap)
            change(tree, bootstrap)
            recording.records[DEMO] = demo(alone, Kafka(bootstrap=bootstrap))
    recording.write(_HERE / "version-before.xz")
    keys = json.loads(_KEYS.read_text()) | {"commands": tree.keys | alone.keys}
    _KEYS.write_text(json.dumps(keys, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
