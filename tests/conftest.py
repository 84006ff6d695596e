"""Loads the fixtures, one plugin per topic: fixtures/fix_<topic>.py."""

import signal
from pathlib import Path

import pytest

# Before one of them imports another: pytest can rewrite the asserts of a module only while loading it.
pytest.register_assert_rewrite("tests.fixtures", "tests.consistency")

pytest_plugins = [
    f"tests.fixtures.{path.stem}" for path in sorted(Path(__file__).parent.glob("fixtures/fix_*.py"))
]

# A shell starts its background jobs with SIGINT ignored, and programs inherit that: those that tests
# interrupt would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
