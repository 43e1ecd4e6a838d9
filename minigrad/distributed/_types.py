"""Errors, stores, reductions and handles of minigrad.distributed: what its functions take and return."""

from __future__ import annotations

from enum import Enum
from typing import Any


class DistError(RuntimeError):
    """An error of the distributed package."""


class DistBackendError(DistError):
    """An error of a backend."""


class DistNetworkError(DistError):
    """A network error."""


class DistStoreError(DistError):
    """An error of a store."""


class Backend(str):
    """Name of a backend, in lower case."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL, FAKE = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl", "fake"

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())


class ReduceOp:
    """How a reduction combines; with one rank they all give the tensor itself."""

    class RedOpType(Enum):
        """The kinds."""

        SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = RedOpType


reduce_op = ReduceOp


class Store:
    """Key-value store of a group; one process keeps it in a dict."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._values: dict[str, bytes] = {}

    def set(self, key: str, value: Any) -> None:
        """Store bytes or a str."""
        self._values[key] = value.encode() if isinstance(value, str) else bytes(value)

    def get(self, key: str) -> bytes:
        """The stored bytes."""
        if key not in self._values:
            raise DistStoreError(f"wait timeout: key {key!r} is not set and no other process can set it")
        return self._values[key]

    def add(self, key: str, amount: int) -> int:
        """Add to a counter; the new value."""
        value = int(self._values.get(key, b"0")) + amount
        self._values[key] = str(value).encode()
        return value

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are set."""
        return all(k in self._values for k in keys)

    def delete_key(self, key: str) -> bool:
        """Forget a key; whether it was there."""
        return self._values.pop(key, None) is not None

    def num_keys(self) -> int:
        """How many keys are set."""
        return len(self._values)

    def wait(self, keys: list[str], timeout: Any = None) -> None:
        """Return when the keys are set; raise DistStoreError for one that is not."""
        for key in keys:
            self.get(key)


class HashStore(Store):
    """A store in memory."""


class FileStore(Store):
    """A store in a file; one process needs none."""


class TCPStore(Store):
    """A store on a server; one process needs none."""


class PrefixStore(Store):
    """A store with a prefix before its keys."""


class AllreduceOptions:
    """Options of an all-reduce."""

    reduceOp = ReduceOp.SUM


class Work:
    """A collective that is under way: here always finished."""

    def __init__(self, result: Any = None) -> None:
        self._result = result

    def wait(self, timeout: Any = None) -> bool:
        """True."""
        return True

    def is_completed(self) -> bool:
        """True."""
        return True

    def is_success(self) -> bool:
        """True."""
        return True

    def result(self) -> Any:
        """The tensors."""
        return self._result

    def get_future(self) -> Any:
        """A future that is done."""
        from minigrad.jit import Future

        return Future(self._result)
