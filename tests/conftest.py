"""Options and markers of the test suite: `--slow` for the exhaustive sweeps, fixed seeds for everything."""

from __future__ import annotations

import random

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the exhaustive sweeps (marker `slow`)")
    levels = ("core", "main", "all")
    parser.addoption("--conformance", choices=levels, default="core", help="how much of op_db: tier 1 in float64, all ops, all dtypes")
    parser.addoption("--conformance-jobs", type=int, default=2, help="op_db entries run at a time")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: exhaustive sweep, run only with --slow")
    try:
        from hypothesis import settings
    except ImportError:
        return
    settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import minigrad as mg

    random.seed(0)
    mg.manual_seed(0)
