"""The collectives of torch.distributed in a group of one process."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from minigrad.distributed._types import (
    AllreduceOptions,
    Backend,
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    FileStore,
    HashStore,
    PrefixStore,
    ReduceOp,
    Store,
    TCPStore,
    Work,
    reduce_op,
)

__all__ = [
    "AllreduceOptions", "Backend", "DistBackendError", "DistError", "DistNetworkError", "DistStoreError",
    "FileStore", "GroupMember", "HashStore", "P2POp",
    "PrefixStore", "ProcessGroup", "ReduceOp", "Store", "TCPStore", "Work", "all_gather", "all_gather_into_tensor",
    "all_gather_object", "all_reduce",
    "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier", "batch_isend_irecv", "broadcast", "broadcast_object_list",
    "destroy_process_group", "gather", "gather_object", "get_backend", "get_global_rank", "get_group_rank",
    "get_process_group_ranks", "get_rank",
    "get_world_size", "group", "init_process_group", "irecv", "is_backend_available", "is_gloo_available",
    "is_initialized", "is_mpi_available",
    "is_nccl_available", "is_ucc_available", "is_xccl_available", "isend", "monitored_barrier", "new_group",
    "new_subgroups", "recv", "reduce",
    "reduce_op", "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
    "supports_complex", "default_pg_timeout",
]  # fmt: skip

default_pg_timeout = timedelta(minutes=30)


class ProcessGroup:
    """A group of processes: this one."""

    def __init__(self, ranks: tuple[int, ...] = (0,), backend: str = "gloo") -> None:
        self._ranks, self._backend = ranks, backend

    def rank(self) -> int:
        """0."""
        return 0

    def size(self) -> int:
        """Number of processes."""
        return len(self._ranks)

    def name(self) -> str:
        """Name of the backend."""
        return self._backend


class GroupMember:
    """The default group, and the mark of "not in this group"."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = -100


class _Groups(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:  # noqa: N802  torch's name
        return GroupMember.WORLD


class group(metaclass=_Groups):  # noqa: N801  torch's name
    """`group.WORLD`: the default group."""


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return GroupMember.WORLD is not None


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: Any = None, world_size: int = -1, rank: int
    = -1, store: Any = None,
    group_name: str = "", pg_options: Any = None, device_id: Any = None, _ranks: Any = None,
) -> None:  # fmt: skip
    """Make the default group of this one process.

    Args:
        world_size, rank: 1 and 0; -1 takes WORLD_SIZE and RANK of the environment where init_method is env://.
    Raises:
        ValueError: called twice, or an env:// variable is missing. NotImplementedError: more than one process.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if store is None and world_size == -1 and (init_method is None or init_method.startswith("env://")):
        for name in ("RANK", "WORLD_SIZE"):
            if name not in os.environ:
                raise ValueError(
                    f"Error initializing torch.distributed using env:// rendezvous: environment variable {name} expected, but not set"
                )
        world_size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    if world_size not in (-1, 1) or rank not in (-1, 0):
        raise NotImplementedError(
            f"distributed: minigrad has groups of one process: got world_size={world_size}, rank={rank}"
        )
    GroupMember.WORLD = ProcessGroup(backend=Backend(backend or "gloo"))


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Forget the group; without one, the default group."""
    if group is None or group is GroupMember.WORLD:
        GroupMember.WORLD = None


def _get_default_group() -> ProcessGroup:
    if GroupMember.WORLD is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return GroupMember.WORLD


def _one(group: Any, *ranks: Any) -> bool:
    """Whether this process is in the group; checks that ranks it is to talk to are 0."""
    _get_default_group()
    for rank in ranks:
        if rank not in (None, 0):
            raise ValueError(f"distributed: rank {rank} is not in this group of one process")
    return group != GroupMember.NON_GROUP_MEMBER


def get_rank(group: Any = None) -> int:
    """0; -1 outside the group."""
    return 0 if _one(group) else -1


def get_world_size(group: Any = None) -> int:
    """1; -1 outside the group."""
    return 1 if _one(group) else -1


def get_backend(group: Any = None) -> str:
    """The backend's name."""
    return _get_default_group().name()


def get_group_rank(group: Any, global_rank: int) -> int:
    """0."""
    _one(group, global_rank)
    return 0


def get_global_rank(group: Any, group_rank: int) -> int:
    """0."""
    _one(group, group_rank)
    return 0


def get_process_group_ranks(group: Any) -> list[int]:
    """[0]."""
    return [0]


def new_group(
    ranks: Any = None, timeout: Any = None, backend: Any = None, pg_options: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """A group of this process, or NON_GROUP_MEMBER for ranks without it."""
    _one(None, *(ranks or ()))
    return (
        GroupMember.NON_GROUP_MEMBER
        if ranks is not None and 0 not in ranks
        else ProcessGroup(backend=backend or get_backend())
    )


def new_subgroups(group_size: int | None = None, *args: Any, **kwargs: Any) -> tuple:
    """(group, [group])."""
    return (made := new_group()), [made]


def _done(async_op: bool, result: Any) -> Work | None:
    return Work(result) if async_op else None


def all_reduce(tensor: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """The tensor stays as it is."""
    _one(group)
    return _done(async_op, [tensor])


def all_reduce_coalesced(
    tensors: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """The tensors stay as they are."""
    _one(group)
    return _done(async_op, tensors)


def reduce(
    tensor: Any,
    dst: int | None = None,
    op: Any = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
    group_dst: Any = None,
) -> Any:
    """The tensor stays as it is."""
    _one(group, dst, group_dst)
    return _done(async_op, [tensor])


def broadcast(
    tensor: Any, src: int | None = None, group: Any = None, async_op: bool = False, group_src: Any = None
) -> Work | None:
    """The tensor stays as it is."""
    _one(group, src, group_src)
    return _done(async_op, [tensor])


def _copy(target: Any, source: Any) -> None:
    import minigrad

    with minigrad.no_grad():
        target.copy_(source.reshape(target.shape))


def all_gather(tensor_list: list, tensor: Any, group: Any = None, async_op: bool = False) -> Work | None:
    """Copies the tensor into the only one of the list."""
    _one(group)
    if len(tensor_list) != 1:
        raise ValueError(f"all_gather: got {len(tensor_list)} output tensors, expected one per rank: 1")
    _copy(tensor_list[0], tensor)
    return _done(async_op, tensor_list)


def all_gather_into_tensor(
    output_tensor: Any, input_tensor: Any, group: Any = None, async_op: bool = False
) -> Work | None:
    """Copies the input into the output."""
    _one(group)
    _copy(output_tensor, input_tensor)
    return _done(async_op, [output_tensor])


def gather(
    tensor: Any,
    gather_list: list | None = None,
    dst: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_dst: Any = None,
) -> Work | None:
    """Copies the tensor into the only one of the list."""
    _one(group, dst, group_dst)
    return all_gather(gather_list, tensor, group, async_op) if gather_list is not None else _done(async_op, [tensor])


def scatter(
    tensor: Any,
    scatter_list: list | None = None,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: Any = None,
) -> Work | None:
    """Copies the only tensor of the list into the tensor."""
    _one(group, src, group_src)
    if scatter_list:
        _copy(tensor, scatter_list[0])
    return _done(async_op, [tensor])


def reduce_scatter(
    output: Any, input_list: list, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Copies the only tensor of the list into the output."""
    _one(group)
    _copy(output, input_list[0])
    return _done(async_op, [output])


def reduce_scatter_tensor(
    output: Any, input: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Copies the input into the output."""
    return all_gather_into_tensor(output, input, group, async_op)


def all_to_all_single(
    output: Any,
    input: Any,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """Copies the input into the output."""
    return all_gather_into_tensor(output, input, group, async_op)


def all_to_all(
    output_tensor_list: list, input_tensor_list: list, group: Any = None, async_op: bool = False
) -> Work | None:
    """Copies the only input into the only output."""
    return all_gather(output_tensor_list, input_tensor_list[0], group, async_op)


def all_gather_object(object_list: list, obj: Any, group: Any = None) -> None:
    """object_list[0] = a copy of the object."""
    import pickle

    _one(group)
    object_list[0] = pickle.loads(pickle.dumps(obj))


def gather_object(
    obj: Any, object_gather_list: list | None = None, dst: Any = None, group: Any = None, group_dst: Any = None
) -> None:
    """object_gather_list[0] = a copy of the object."""
    _one(group, dst, group_dst)
    if object_gather_list is not None:
        all_gather_object(object_gather_list, obj, group)


def broadcast_object_list(
    object_list: list, src: Any = None, group: Any = None, device: Any = None, group_src: Any = None
) -> None:
    """The list stays as it is."""
    _one(group, src, group_src)


def scatter_object_list(
    scatter_object_output_list: list,
    scatter_object_input_list: list | None = None,
    src: Any = None,
    group: Any = None,
    group_src: Any = None,
) -> None:
    """The first output = the first input."""
    _one(group, src, group_src)
    if scatter_object_input_list:
        scatter_object_output_list[0] = scatter_object_input_list[0]


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None) -> Work | None:
    """Nothing to wait for."""
    return _done(async_op, None) if _one(group) else None


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """Nothing to wait for."""
    _one(group)


class P2POp:
    """A send or receive of `batch_isend_irecv`."""

    def __init__(
        self, op: Any, tensor: Any, peer: Any = None, group: Any = None, tag: int = 0, group_peer: Any = None
    ) -> None:
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag


def _no_peer(*args: Any, **kwargs: Any) -> Any:
    """Sending to itself is an error in PyTorch, and there is no other rank.

    Raises:
        ValueError: always.
    """
    _get_default_group()
    raise ValueError("distributed: there is no other rank to talk to in a group of one process")


send = recv = isend = irecv = batch_isend_irecv = _no_peer


def is_nccl_available(*args: Any) -> bool:
    """False: there is no such backend."""
    return False


is_mpi_available = is_ucc_available = is_xccl_available = is_nccl_available


def is_gloo_available() -> bool:
    """True: the name programs ask for on a CPU."""
    return True


def is_backend_available(backend: str) -> bool:
    """True of 'gloo'."""
    return backend.lower() == "gloo"


def supports_complex(reduceOp: Any) -> bool:
    """Whether the reduction is defined for complex numbers."""
    return reduceOp not in (ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT, ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)
