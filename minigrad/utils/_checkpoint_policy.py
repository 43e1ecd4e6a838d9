"""What selective activation checkpointing is asked with (torch.utils.checkpoint re-exports it).

A policy says per operator what to keep between the two runs. It changes memory and time, never results: minigrad has no layer where single
operators of a checkpointed function could be kept, so everything in it is computed again, as with every policy that says PREFER_RECOMPUTE.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from typing import Any


class CheckpointPolicy(enum.Enum):
    """What becomes of an operator's result between the two runs of a checkpointed function."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


class SelectiveCheckpointContext:
    """What a policy function gets first: which of the two runs asks."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute, self.op_output = is_recompute, op_output


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Callable[..., Any] | list[Any], allow_cache_entry_mutation: bool = False
) -> tuple[Any, Any]:
    """The two contexts of `checkpoint(context_fn=functools.partial(create_selective_checkpoint_contexts, policy))`.

    Args:
        policy_fn_or_list: `policy(ctx, op, *args, **kwargs) -> CheckpointPolicy`, or a list of operators to save. Whatever it says,
            everything is recomputed: the same results in more time and less memory.
        allow_cache_entry_mutation: accepted; there are no entries.
    Raises:
        TypeError: neither a function nor a list.
    """
    if not callable(policy_fn_or_list) and not isinstance(policy_fn_or_list, list):
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    return contextlib.nullcontext(), contextlib.nullcontext()
