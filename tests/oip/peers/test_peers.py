"""What other servers fail, recorded: the suite is not made to fit one server."""

from pathlib import Path

import pytest

from tests.oip.peers.servers import KSERVE, MLSERVER, PeerServer, serving
from tests.oip.suite import all_cases, failures

PEERS = [MLSERVER, KSERVE]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_record_names_cases(peer: PeerServer) -> None:
    assert set(peer.recorded()) <= {case.name for case in all_cases()}


# The first run installs the peer.
@pytest.mark.timeout(1200)
@pytest.mark.thorough
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_fail_what_is_recorded(peer: PeerServer, tmp_path: Path) -> None:
    with serving(peer, tmp_path) as target:
        found = {failed.case.name: failed.reason for failed in failures(target)}
    assert sorted(found) == sorted(peer.recorded()), found
