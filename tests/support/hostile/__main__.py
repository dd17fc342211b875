"""``python -m tests.support.hostile``: send all hostile requests to an API, and print figures.

``--kinds path,token`` sends some of them, and ``--first-wrong`` ends with the first wrong answer.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.support.hostile.registry import CLIENTS, ELSEWHERE, REQUESTS, SETTINGS, run_all
from tests.support.openapi.served_api import served_api


def main() -> int:
    """Return 0 if all were answered as documented, and the process is unharmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default="", help="first words of causes, with commas")
    parser.add_argument("--first-wrong", action="store_true", help="end with a wrong answer")
    options = parser.parse_args()
    kinds = [each for each in options.kinds.split(",") if each]
    with (
        tempfile.TemporaryDirectory(prefix="hostile-") as folder,
        served_api(Path(folder), serving=SETTINGS, clients=CLIENTS) as api,
    ):
        found = run_all(api, kinds, first_wrong=options.first_wrong)
    found["by_kind"] = dict(Counter(each.kind for each in REQUESTS))
    found["elsewhere"] = {f"{each.file}::{each.test}": each.cases for each in ELSEWHERE}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return int(bool(found["wrong"]) or not found["alive"])


if __name__ == "__main__":
    sys.exit(main())
