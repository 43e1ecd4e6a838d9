"""torch.utils.flop_counter: counts the floating-point operations of what runs inside a `with` block."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["FlopCounterMode"]


class FlopCounterMode:
    """Counts the operations of matrix products and convolutions, forward and backward, from their shapes.

    Args:
        mods, depth, custom_mapping: accepted; the count is of the whole block, not by module.
        display: print the table at the end of the block.

    Example:
        >>> with mg.utils.flop_counter.FlopCounterMode(display=False) as counter:
        ...     _ = mg.ones(2, 3) @ mg.ones(3, 4)
        >>> counter.get_total_flops()
        48
    """

    def __init__(self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: Any = None) -> None:
        self.display = display
        self.flop_counts: dict[str, Counter] = {"Global": Counter()}

    def __enter__(self) -> FlopCounterMode:
        from minigrad import profiler

        self.flop_counts["Global"].clear()
        self._profile = profiler.profile(record_shapes=True, with_flops=True)
        self._profile.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._profile.__exit__(*error)
        for event in self._profile.events():
            if event.flops:
                self.flop_counts["Global"][event.name] += event.flops
        if self.display and error[0] is None:
            print(self.get_table())

    def get_total_flops(self) -> int:
        """The sum over all operations."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """From "Global" to the count of each op."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The counts as a text table."""
        total = self.get_total_flops()
        rows = [("Global", total), *((f" - {name}", flops) for name, flops in self.flop_counts["Global"].most_common())]
        wide = max(len(name) for name, _ in rows)
        lines = [f"{name:{wide}}  {flops:>15,}  {100 * flops / max(total, 1):6.2f}%" for name, flops in rows]
        return "\n".join([f"{'Module':{wide}}  {'FLOP':>15}  {'% Total':>7}", *lines])
