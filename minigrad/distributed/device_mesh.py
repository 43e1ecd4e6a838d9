"""torch.distributed.device_mesh: a mesh of one process."""

from __future__ import annotations

from typing import Any

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """A grid of processes; its sizes are all 1 here.

    Raises:
        NotImplementedError: more than one process.
    """

    def __init__(self, device_type: str, mesh: Any, *, mesh_dim_names: tuple[str, ...] | None = None, _init_backend: bool = True) -> None:
        import minigrad

        self.mesh = minigrad.as_tensor(mesh)
        if self.mesh.numel() != 1:
            raise NotImplementedError(f"DeviceMesh: minigrad runs on one process: got a mesh of {self.mesh.numel()}")
        self.device_type, self.mesh_dim_names = device_type, mesh_dim_names

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.mesh.dim()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """Number of processes (along a dimension)."""
        return self.mesh.numel() if mesh_dim is None else self.mesh.shape[mesh_dim]

    def get_rank(self) -> int:
        """0."""
        return 0

    def get_local_rank(self, mesh_dim: Any = None) -> int:
        """0."""
        return 0

    def get_group(self, mesh_dim: Any = None) -> Any:
        """The default group."""
        from minigrad.distributed import _get_default_group

        return _get_default_group()

    def __getitem__(self, mesh_dim_names: Any) -> DeviceMesh:
        return self


def init_device_mesh(device_type: str, mesh_shape: tuple[int, ...], *, mesh_dim_names: tuple[str, ...] | None = None,
**options: Any) -> DeviceMesh:
    """A mesh of that shape.

    Raises:
        NotImplementedError: more than one process.
    """
    import math

    import minigrad

    return DeviceMesh(device_type, minigrad.arange(math.prod(mesh_shape)).reshape(mesh_shape), mesh_dim_names=mesh_dim_names)
