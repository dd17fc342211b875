"""HTTP and gRPC: how fast decisions and scores are answered, and what an overload does.

Started as a script, this file would hide the standard library's package ``http`` from every script
of this folder, since Python puts a script's folder first in ``sys.path``. So the folder is replaced
by its parent there, and whoever imports ``http`` by then gets the standard library's.
"""

import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
sys.path[:] = [
    str(_FOLDER.parent) if each and Path(each).resolve() == _FOLDER else each for each in sys.path
]

if __name__ == "http":
    # Another script of this folder has imported it. The importer takes what is in sys.modules.
    del sys.modules["http"]
    import http  # noqa: F401 see above
elif __name__ == "__main__":
    from bench.http_steps.run import main

    sys.exit(main())
