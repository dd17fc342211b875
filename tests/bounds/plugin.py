"""For pytest: compiles the package's kernels with checks, and fails each test with a finding."""

from collections.abc import Iterator

import hypothesis
import pytest

from tests.bounds import checking, windows

checking.install()
# The first example of a test also compiles kernels.
hypothesis.settings.register_profile("bounds", deadline=None)
hypothesis.settings.load_profile("bounds")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test in which a kernel accessed memory out of bounds, whatever its assertions."""
    windows.forget()
    try:
        return (yield)
    finally:
        if windows.findings():
            pytest.fail(f"{windows.findings()} findings, the first: {windows.first_finding()}")
