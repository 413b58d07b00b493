"""Every test session of the checkout shares one real stack: see libs/testkit."""

from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["fleet_testkit.fixtures"]


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Where tests run side by side (`make test`): a file in one process, and the whole fleets, whose ports are fixed, in one."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/" if nodeid.startswith("tests/") else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


# In processes of their own the services log JSON. Here the default would draw a traceback with all its values, which
# takes seconds on a busy machine, on the event loop of the service under test.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# How quick an example is, is not asserted: on a busy machine any of them may stand still for a while.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
