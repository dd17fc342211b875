"""For pytest: compiles the package's kernels with checks, and fails each test with a finding."""

from collections.abc import Iterator

import hypothesis
import pytest

from tests.bounds import checking, windows

checking.install()
# The first example of a test compiles.
hypothesis.settings.register_profile("bounds", deadline=None)
hypothesis.settings.load_profile("bounds")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test in which a kernel touched what it may not, whatever the test expected."""
    windows.forget()
    try:
        return (yield)
    finally:
        if windows.findings():
            pytest.fail(f"{windows.findings()} findings, the first: {windows.first_finding()}")
