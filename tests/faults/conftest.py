"""A broker behind a proxy, for the faults that need one."""

from collections.abc import Iterator

import pytest

from stream_scorer.devkafka import DevKafka
from stream_scorer.devkafka.cluster import free_ports
from tests.support.faults.proxy import Behind, Proxy


@pytest.fixture(scope="package")
def behind() -> Iterator[Behind]:
    (port,) = free_ports(1)
    with Proxy(port) as proxy, DevKafka(advertised={0: proxy.address}) as kafka:
        proxy.upstream = kafka.brokers[0].address
        yield Behind(kafka, proxy)
