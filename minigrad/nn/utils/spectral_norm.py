"""Spectral normalisation by a forward hook: w / sigma(w), sigma by power iteration (Miyato et al., arXiv 1802.05957)."""

from __future__ import annotations

from typing import Any, TypeVar

import minigrad as mg
from minigrad.nn.functional import normalize

T = TypeVar("T")

__all__ = ["SpectralNorm", "SpectralNormLoadStateDictPreHook", "SpectralNormStateDictHook", "remove_spectral_norm", "spectral_norm"]


class SpectralNorm:
    """The hook that recomputes `name` from `name_orig` and the vectors `name_u`, `name_v` before each forward."""

    _version: int = 1  # 1: v is kept in the state_dict

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
        self.name, self.dim, self.n_power_iterations, self.eps = name, dim, n_power_iterations, eps

    def reshape_weight_to_matrix(self, weight: mg.Tensor) -> mg.Tensor:
        """The weight as a matrix: dimension `dim` as rows, all others as columns."""
        return weight.movedim(self.dim, 0).reshape(weight.shape[self.dim], -1)

    def compute_weight(self, module: Any, do_power_iteration: bool) -> mg.Tensor:
        """The normalised weight; the vectors are refined in place first when asked."""
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = self.reshape_weight_to_matrix(weight)
        if do_power_iteration:
            with mg.no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(normalize(mg.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(normalize(mg.mv(matrix, v), dim=0, eps=self.eps))
                # Copies, because another forward before backward writes the buffers again.
                u, v = u.clone(), v.clone()
        return weight / mg.dot(u, mg.mv(matrix, v))

    def remove(self, module: Any) -> None:
        """Make the present weight an ordinary parameter again."""
        with mg.no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        delattr(module, self.name)
        for suffix in ("_u", "_v", "_orig"):
            delattr(module, self.name + suffix)
        module.register_parameter(self.name, mg.nn.Parameter(weight.detach()))

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))

    def _solve_v_and_rescale(self, matrix: mg.Tensor, u: mg.Tensor, target_sigma: mg.Tensor) -> mg.Tensor:
        """v with u = normalize(W v) and u^T W v = sigma, by least squares: for files of before v was kept."""
        v = mg.linalg.pinv(matrix.t().mm(matrix)).mm(matrix.t()).mv(u)
        return v.mul_(target_sigma / mg.dot(u, mg.mv(matrix, v)))

    @staticmethod
    def apply(module: Any, name: str, n_power_iterations: int, dim: int, eps: float) -> SpectralNorm:
        """Replace parameter `name` of `module` and install the hooks."""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm) and hook.name == name:
                raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
        fn = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if mg.nn.parameter.is_lazy(weight):
            raise ValueError(
                "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to run the dummy forward before "
                "applying spectral normalization"
            )
        with mg.no_grad():
            rows, columns = fn.reshape_weight_to_matrix(weight).shape
            u = normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
            v = normalize(weight.new_empty(columns).normal_(0, 1), dim=0, eps=eps)
        delattr(module, name)
        module.register_parameter(name + "_orig", weight)
        setattr(module, name, weight.data)  # in place of the parameter, so that initialisers still find it
        module.register_buffer(name + "_u", u)
        module.register_buffer(name + "_v", v)
        module.register_forward_pre_hook(fn)
        module._register_state_dict_hook(SpectralNormStateDictHook(fn))
        module._register_load_state_dict_pre_hook(SpectralNormLoadStateDictPreHook(fn))
        return fn


class SpectralNormLoadStateDictPreHook:
    """Fills v in for files of before it was kept."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(
        self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool, missing_keys: list, unexpected_keys: list, error_msgs: list
    ) -> None:
        version = local_metadata.get("spectral_norm", {}).get(self.fn.name + ".version", None)
        if version is not None and version >= 1:
            return
        key = prefix + self.fn.name
        if version is None and all(key + s in state_dict for s in ("_orig", "_u", "_v")) and key not in state_dict:
            return
        missing = [key + s for s in ("_orig", "", "_u") if key + s not in state_dict]
        if missing:
            if strict:
                missing_keys.extend(missing)
            return
        with mg.no_grad():
            orig, weight = state_dict[key + "_orig"], state_dict.pop(key)
            sigma = (orig / weight).mean()
            matrix = self.fn.reshape_weight_to_matrix(orig)
            state_dict[key + "_v"] = self.fn._solve_v_and_rescale(matrix, state_dict[key + "_u"], sigma)


class SpectralNormStateDictHook:
    """Notes the version in the state_dict's metadata."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(self, module: Any, state_dict: dict, prefix: str, local_metadata: dict) -> None:
        versions = local_metadata.setdefault("spectral_norm", {})
        key = self.fn.name + ".version"
        if key in versions:
            raise RuntimeError(f"Unexpected key in metadata['spectral_norm']: {key}")
        versions[key] = self.fn._version


def spectral_norm(
    module: T, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> T:
    """Divide parameter `name` by its largest singular value, estimated by power iteration at each forward in training mode.

    Args:
        module: holds the parameter; returned.
        name: of the parameter; it becomes `name_orig`, with buffers `name_u` and `name_v`.
        n_power_iterations: steps per forward.
        eps: lower limit of the vectors' norms.
        dim: dimension of the outputs: 0, or 1 for transposed convolutions.
    Raises:
        RuntimeError: the parameter has spectral normalisation already.
    """
    if dim is None:
        dim = 1 if isinstance(module, (mg.nn.ConvTranspose1d, mg.nn.ConvTranspose2d, mg.nn.ConvTranspose3d)) else 0
    SpectralNorm.apply(module, name, n_power_iterations, dim, eps)
    return module


def remove_spectral_norm(module: T, name: str = "weight") -> T:
    """Undo `spectral_norm`; raises ValueError where there is none."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            break
    else:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    for table, kind in (
        (module._state_dict_hooks, SpectralNormStateDictHook),
        (module._load_state_dict_pre_hooks, SpectralNormLoadStateDictPreHook),
    ):
        for key, hook in table.items():
            hook = getattr(hook, "hook", hook)  # the table may wrap it
            if isinstance(hook, kind) and hook.fn.name == name:
                del table[key]
                break
    return module
