"""``python -m tests.oip URL GRPC --model NAME``: does a server conform?"""

import sys

from tests.oip.run import main

if __name__ == "__main__":
    sys.exit(main())
