"""torch.jit.annotations: type comments of TorchScript, for programs that import them."""

from __future__ import annotations

from typing import Any, Optional

from minigrad.jit import Future

__all__ = ["BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Future", "List", "Optional", "Tuple", "Any"]

from typing import List, Tuple  # noqa: E402, UP035  the names that programs import


class _Broadcasting:
    def __getitem__(self, item: Any) -> Any:
        return list[item]


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _Broadcasting()
