"""``python -m tests.support.hostile``: send all hostile requests to an API, and print figures."""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.support.hostile.registry import CLIENTS, ELSEWHERE, REQUESTS, SETTINGS, run_all
from tests.support.openapi.served_api import served_api


def main() -> int:
    """Return 0 if all were answered as documented, and the process is unharmed."""
    with (
        tempfile.TemporaryDirectory(prefix="hostile-") as folder,
        served_api(Path(folder), serving=SETTINGS, clients=CLIENTS) as api,
    ):
        found = run_all(api)
    found["by_kind"] = dict(Counter(each.cause.partition(":")[0] for each in REQUESTS))
    found["elsewhere"] = {f"{each.file}::{each.test}": each.cases for each in ELSEWHERE}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return int(bool(found["wrong"]) or not found["alive"])


if __name__ == "__main__":
    sys.exit(main())
