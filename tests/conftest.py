"""Options and markers of the test suite: `--slow` for the exhaustive sweeps, `--device cuda` for the suite on a device, fixed seeds for
everything."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the exhaustive sweeps (marker `slow`)")
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where the tests make their tensors (tests/by_device.py)")
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
    settings.register_profile("by device", parent=settings.get_profile("repeatable"), max_examples=10)
    settings.load_profile("repeatable" if config.getoption("--device") == "cpu" else "by device")


def pytest_sessionstart(session: pytest.Session) -> None:
    """The device is looked for after pytest has enabled faulthandler: the simulator's signal handler must be the later one."""
    if session.config.getoption("--device") != "cpu":
        import by_device

        reason = by_device.without_device()
        if reason:
            pytest.exit(f"--device cuda: there is none, and MINIGRAD_CUDASIM=1 is not set or minigrad was built without it: {reason}", 4)
        by_device.prepare()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow: run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)
    if config.getoption("--device") != "cpu":
        import by_device

        patterns = by_device.listed()
        for item in items:
            name = f"{item.path.relative_to(HERE)}::{item.name}"
            reason = by_device.reason_against(name, patterns)
            if reason:
                item.add_marker(pytest.mark.skip(reason=f"not by device: {reason}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    try:
        return (yield)
    except NotImplementedError as error:
        if item.config.getoption("--device") != "cpu":
            import by_device

            if by_device.lacks_listed_kernel(error):
                pytest.skip(f"listed in cuda/without_kernel.txt: {error}")
        raise


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> Iterator[None]:
    import minigrad as mg

    random.seed(0)
    mg.manual_seed(0)
    if request.config.getoption("--device") == "cpu" or HERE / "cuda" in request.path.parents:
        yield
        return
    mg.set_default_device(request.config.getoption("--device"))
    try:
        yield
        mg.cuda.synchronize()
    finally:
        mg.set_default_device(None)
