"""The demo as a user runs it, with the tests' broker."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Broker
from tests.support.recorded.here import KEYS as RECORDED

pytestmark = pytest.mark.kafka

COMMAND = [sys.executable, "-c", "from stream_scorer.cli import main; main()", "demo", "--quick"]
KEYS = {
    "transactions", "malformed_sent", "decisions", "dead_letters", "duplicates", "missing",
    "approve", "review", "block", "events_per_second", "latency_p50_ms", "latency_p99_ms",
    "drift_events", "degraded", "average_precision", "average_precision_over",
}  # fmt: skip


def test_quick_demo_ends_with_a_good_verdict(kafka: Broker) -> None:
    done = subprocess.run(  # noqa: S603 our own command
        [*COMMAND, "--bootstrap", kafka.bootstrap],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "TRAILING_BYTES" in done.stdout
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said) >= KEYS | set(RECORDED["demo"])
    assert said["duplicates"] == said["missing"] == 0
    assert said["malformed_sent"] == said["dead_letters"] >= 25
    assert said["decisions"] + said["dead_letters"] == said["transactions"]
    assert said["approve"] + said["review"] + said["block"] == said["decisions"]
    assert said["drift_events"] >= 1
    assert said["degraded"] == 0
    # Decisions depend only on the input, so the core alone gives the same number.
    assert said["average_precision"] == pytest.approx(0.294, abs=1e-3)
    assert 0 < said["average_precision_over"] < said["decisions"]


@pytest.mark.thorough
def test_ctrl_c_ends_every_process(kafka: Broker, tmp_path: Path) -> None:
    program, text, main, *options = COMMAND
    # As a terminal starts it. A job in the background inherits that SIGINT is ignored.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    with (tmp_path / "said").open("w") as said:
        demo = subprocess.Popen(  # noqa: S603 our own command
            [program, text, listening + main, *options, "--bootstrap", kafka.bootstrap],
            stdout=said,
            stderr=said,
        )
    own = psutil.Process(demo.pid)
    until = time.monotonic() + 60
    while len(own.children()) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    children = own.children(recursive=True)
    assert len(children) >= 2
    demo.send_signal(signal.SIGINT)
    assert demo.wait(40) != 0
    assert "Traceback" not in (tmp_path / "said").read_text()
    _, alive = psutil.wait_procs(children, timeout=40)
    assert alive == []
