"""What every test may use: the support table."""

from .support_table import (  # noqa: F401 - hooks and a fixture, found by name
    pytest_addoption,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    support,
)
