"""einops on minigrad tensors: importing this module registers the backend (einops finds backends by their class).

    import minigrad.array_api.einops
    from einops import rearrange, reduce, repeat, einsum
    rearrange(x, "b (h w) c -> b c h w", h=8)

Without the import `einops.array_api` works too: it uses only the Array API namespace.
"""

from __future__ import annotations

from typing import Any

from einops._backends import AbstractBackend

import minigrad as mg


class MinigradBackend(AbstractBackend):
    """What einops needs to know about our tensors."""

    framework_name = "minigrad"

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Whether this backend handles the object."""
        return isinstance(tensor, mg.Tensor)

    def from_numpy(self, x: Any) -> Any:
        """A tensor of the array's values."""
        return mg.from_numpy(x)

    def to_numpy(self, x: Any) -> Any:
        """The values as a NumPy array."""
        return x.detach().numpy()

    def arange(self, start: int, stop: int) -> Any:
        """Integers from start to stop."""
        return mg.arange(start, stop, dtype=mg.int64)

    def reduce(self, x: Any, operation: str, reduced_axes: Any) -> Any:
        """Reduction over several axes."""
        axes = tuple(reduced_axes)
        if operation in ("min", "max"):
            return getattr(mg, "a" + operation)(x, axes)
        if operation in ("sum", "mean"):
            return getattr(mg, operation)(x, axes)
        if operation == "prod":
            for axis in sorted(axes, reverse=True):
                x = mg.prod(x, axis)
            return x
        if operation in ("any", "all"):
            return getattr(mg, operation)(x, axes)
        raise NotImplementedError(f"einops: unknown reduction: got {operation!r}.")

    def transpose(self, x: Any, axes: Any) -> Any:
        """Axes in another order."""
        return x.permute(tuple(axes))

    def stack_on_zeroth_dimension(self, tensors: Any) -> Any:
        """One tensor of a list."""
        return mg.stack(list(tensors))

    def add_axes(self, x: Any, n_axes: int, pos2len: dict[int, int]) -> Any:
        """New axes of the given lengths."""
        repeats = [-1] * n_axes
        for position, length in pos2len.items():
            x = x.unsqueeze(position)
            repeats[position] = length
        return x.expand(repeats)

    def tile(self, x: Any, repeats: Any) -> Any:
        """Copies side by side."""
        return x.repeat(tuple(repeats))

    def concat(self, tensors: Any, axis: int) -> Any:
        """Tensors one after the other."""
        return mg.cat(list(tensors), axis)

    def is_float_type(self, x: Any) -> bool:
        """Whether the mean is defined."""
        return x.is_floating_point()

    def einsum(self, pattern: str, *x: Any) -> Any:
        """Einstein summation."""
        return mg.einsum(pattern, *x)
