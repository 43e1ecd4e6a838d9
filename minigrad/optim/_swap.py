"""swap_in_optimizer_params_and_state: let an optimizer work on other tensors for a while."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from minigrad._core import Tensor


@contextlib.contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Any, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Inside the block the optimizer has these parameters and this state; afterwards its own again.

    Args:
        optimizer: any Optimizer.
        swapin_parameters: as many tensors as it has parameters, in their order.
        swapin_optim_state: a dict like `optimizer.state_dict()`; tensors in it are used as they are, and changed in place by `step()`.
    Raises:
        ValueError: the number of parameters is another.
    """
    tensors = list(swapin_parameters.values())
    wanted = sum(len(group["params"]) for group in optimizer.param_groups)
    if len(tensors) != wanted:
        raise ValueError(f"swap_in_optimizer_params_and_state: got {len(tensors)} parameters, the optimizer has {wanted}")
    before = optimizer.param_groups, optimizer.state
    given = swapin_optim_state
    optimizer.param_groups = [{**group, "params": [tensors[k] for k in group["params"]]} for group in given["param_groups"]]
    optimizer.state = defaultdict(dict, {tensors[k]: dict(state) for k, state in given["state"].items()})
    try:
        yield
    finally:
        optimizer.param_groups, optimizer.state = before
