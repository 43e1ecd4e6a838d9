"""Grad modes as context managers and decorators: no_grad, enable_grad, set_grad_enabled, inference_mode, anomaly mode."""

from __future__ import annotations

from typing import Any

from minigrad import _core

_set = _core.set_grad_enabled


class _Decorator:
    """Makes a context manager usable as a decorator of functions, generators and classes' methods."""

    def _clone(self) -> Any:
        return type(self)()

    def __call__(self, function: Any) -> Any:
        import functools
        import inspect

        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                source = function(*args, **kwargs)
                send = None
                while True:  # the mode holds while the generator's own code runs, not while the caller's does
                    with self._clone():
                        try:
                            item = source.send(send)
                        except StopIteration as stop:
                            return stop.value
                    send = yield item

            return generator

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._clone():
                return function(*args, **kwargs)

        return wrapper


class no_grad(_Decorator):
    """Nothing inside is recorded for backward. Use as `with mg.no_grad():` or `@mg.no_grad()`."""

    __slots__ = ("_before",)

    def __new__(cls, function: Any = None) -> Any:
        self = object.__new__(cls)
        return self(function) if function is not None else self

    def __enter__(self) -> None:
        self._before = _set(False)

    def __exit__(self, *exc: Any) -> None:
        _set(self._before)


class enable_grad(_Decorator):
    """Turns recording on again inside `no_grad`."""

    __slots__ = ("_before",)

    def __new__(cls, function: Any = None) -> Any:
        self = object.__new__(cls)
        return self(function) if function is not None else self

    def __enter__(self) -> None:
        self._before = _set(True)

    def __exit__(self, *exc: Any) -> None:
        _set(self._before)


class set_grad_enabled(_Decorator):
    """Sets grad mode at once; as a context manager it is put back at the end."""

    __slots__ = ("_before", "mode")

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._before = _set(self.mode)

    def _clone(self) -> Any:
        return set_grad_enabled(self.mode)

    def __call__(self, function: Any) -> Any:
        _set(self._before)  # used as a decorator: the mode belongs to the function alone
        return super().__call__(function)

    def __enter__(self) -> None:
        _set(self.mode)

    def __exit__(self, *exc: Any) -> None:
        _set(self._before)


class inference_mode(_Decorator):
    """no_grad, and what is made inside can never take part in a graph (no view tracking: a little faster)."""

    __slots__ = ("_grad", "_inference", "mode")

    def __init__(self, mode: Any = True) -> None:
        self.mode = mode

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if callable(mode):
            self.mode = True
            return self(mode)
        return self

    def _clone(self) -> Any:
        return inference_mode(self.mode)

    def __enter__(self) -> None:
        self._grad = _set(_core.is_grad_enabled() and not self.mode)
        self._inference = _core.set_inference_mode(bool(self.mode))

    def __exit__(self, *exc: Any) -> None:
        _set(self._grad)
        _core.set_inference_mode(self._inference)


class set_detect_anomaly:
    """Anomaly mode: backward errors name the forward line, in-place violations the line that wrote, NaN gradients raise.

    Args:
        mode: on or off.
        check_nan: kept for PyTorch's signature; NaN checks are part of the mode.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _core.set_anomaly(bool(mode))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        _core.set_anomaly(self._before)


class detect_anomaly(set_detect_anomaly):
    """`with detect_anomaly():` = anomaly mode inside the block."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)
