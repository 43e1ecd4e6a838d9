"""torch.futures: results that arrive later, by way of concurrent.futures."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

__all__ = ["Future", "collect_all", "wait_all"]


class Future:
    """A value that is set once; callbacks run in the thread that sets it.

    Args:
        devices: no devices have to be waited for; kept for compatibility.
    """

    def __init__(self, *, devices: Any = None) -> None:
        self._future: concurrent.futures.Future = concurrent.futures.Future()

    def __class_getitem__(cls, item: Any) -> type:
        return cls

    def done(self) -> bool:
        """Whether a result or an exception is there."""
        return self._future.done()

    def wait(self) -> Any:
        """Block until it is there; the value, or raise the exception."""
        return self._future.result()

    def value(self) -> Any:
        """The value.

        Raises:
            RuntimeError: not there yet.
        """
        if not self.done():
            raise RuntimeError("Future: value() was called before the result was set. Try wait().")
        return self._future.result()

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A future of callback(self), called when this one is there."""
        after = Future()

        def run(_: Any) -> None:
            try:
                after.set_result(callback(self))
            except Exception as error:
                after.set_exception(error)

        self._future.add_done_callback(run)
        return after

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """Call callback(self) when it is there."""
        self._future.add_done_callback(lambda _: callback(self))

    def set_result(self, result: Any) -> None:
        """Set the value.

        Raises:
            RuntimeError: set already.
        """
        if self.done():
            raise RuntimeError("Future can only be marked completed once.")
        self._future.set_result(result)

    def set_exception(self, result: BaseException) -> None:
        """Set an exception, which wait() raises."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._future.set_exception(result)


def collect_all(futures: list[Future]) -> Future[list[Future]]:
    """A future of the list, there when all of them are."""
    result, left = Future(), [len(futures)]
    if not futures:
        result.set_result([])

    def one_done(_: Future) -> None:
        left[0] -= 1
        if left[0] == 0:
            result.set_result(list(futures))

    for future in futures:
        future.add_done_callback(one_done)
    return result


def wait_all(futures: list[Future]) -> list:
    """The values of all of them."""
    return [future.wait() for future in futures]
