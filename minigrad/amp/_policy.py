"""Which op runs in which precision under autocast: PyTorch's documented lists, and how they reach our ops.

Ops of the core are looked up by the core, by name (csrc/core/autocast.cpp). Functions made of several ops (losses, attention …) are
cast as a whole, as PyTorch does: at the first enabled region such a function gets a gateway as its code, under its own identity, so
that every reference to it, also one imported long before, goes through. Programs without autocast keep the plain functions.

Source: https://docs.pytorch.org/docs/stable/amp.html, "Autocast Op Reference".
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core

_state = _core.autocast
Tensor = mg.Tensor

LOWER = {
    "cpu": """conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d bmm mm linalg.vecdot baddbmm addmm addbmm
        linear matmul prelu scaled_dot_product_attention lstm rnn_tanh rnn_relu""",
    "cuda": """conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d addbmm addmm addmv addr baddbmm bmm
        chain_matmul linalg.multi_dot linear matmul mm mv prelu linalg.vecdot scaled_dot_product_attention lstm gru rnn_tanh rnn_relu
        lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell""",
}
FLOAT32 = {
    "cpu": """avg_pool3d binary_cross_entropy grid_sample polar prod quantile nanquantile stft cdist trace view_as_complex cholesky
        cholesky_inverse cholesky_solve inverse lu_solve orgqr ormqr pinverse max_pool3d max_unpool2d max_unpool3d adaptive_avg_pool3d
        adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d mse_loss cosine_embedding_loss nll_loss hinge_embedding_loss
        poisson_nll_loss smooth_l1_loss cross_entropy l1_loss huber_loss margin_ranking_loss soft_margin_loss triplet_margin_loss
        multi_margin_loss ctc_loss kl_div multilabel_margin_loss binary_cross_entropy_with_logits fft.fft fft.ifft fft.fft2 fft.ifft2
        fft.fftn fft.ifftn fft.rfft fft.irfft fft.rfft2 fft.irfft2 fft.rfftn fft.irfftn fft.hfft fft.ihfft linalg.cond
        linalg.matrix_rank linalg.solve linalg.cholesky linalg.svdvals linalg.eigvals linalg.eigvalsh linalg.inv
        linalg.householder_product linalg.tensorinv linalg.tensorsolve geqrf qr svd triangular_solve linalg.qr linalg.cholesky_ex
        linalg.svd linalg.eig linalg.eigh linalg.lstsq linalg.inv_ex""",
    "cuda": """acos asin binary_cross_entropy_with_logits cosh cosine_embedding_loss cdist cosine_similarity cross_entropy cumprod cumsum
        dist erfinv exp expm1 group_norm hinge_embedding_loss kl_div l1_loss layer_norm log log10 log_softmax log1p log2
        margin_ranking_loss mse_loss multilabel_margin_loss multi_margin_loss nll_loss norm normalize pdist poisson_nll_loss pow prod
        reciprocal rsqrt sinh smooth_l1_loss soft_margin_loss softmax softmin softplus sum renorm tan triplet_margin_loss""",
}
PROMOTE = {
    "cpu": "stack cat index_copy gru gru_cell lstm_cell rnn_tanh_cell rnn_relu_cell",  # cells: the hidden state stays float32
    "cuda": "addcdiv addcmul atan2 bilinear cross dot grid_sample index_put scatter_add tensordot stack cat index_copy",
}
_LISTS = (("lower", LOWER), ("float32", FLOAT32), ("promote", PROMOTE))
_NUMBERS = {"cpu": 0, "cuda": 1}
_installed = False


def _find(name: str) -> list[Any]:
    """The functions of that public name: softmax of nn.functional is not the op that mg.softmax and Tensor.softmax are."""
    home, _, last = name.rpartition(".")
    for homes in ([getattr(mg, home)],) if home else ((mg.nn.functional, mg), (mg.linalg,)):
        found = [getattr(space, last) for space in homes if hasattr(space, last)]
        if found:
            return [getattr(f, "function", f) for f in found]  # what an overrides.Overridable wraps
    return []


def install() -> None:
    """Bring the lists to the ops; done once, at the first enabled region."""
    global _installed
    if _installed:
        return
    _installed = True
    gateways: dict[types.FunctionType, dict[str, str]] = {}
    for policy, lists in _LISTS:
        for device, names in lists.items():
            for name in names.split():
                for function in _find(name):
                    if isinstance(function, types.FunctionType):
                        gateways.setdefault(inspect.unwrap(function), {})[device] = policy
                    else:
                        _state.set_policy(_NUMBERS[device], function.__name__, policy)
    for function, policies in gateways.items():
        _put_gateway(function, policies)


def _put_gateway(function: types.FunctionType, policies: dict[str, str]) -> None:
    """Let calls of `function` go through `Gateway`, whoever holds it."""
    inner = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    inner.__kwdefaults__ = function.__kwdefaults__
    function.__signature__ = inspect.signature(function)
    function.__code__ = _entrance(len(function.__closure__ or ()))
    function.__defaults__ = None
    function.__kwdefaults__ = {"_gateway": Gateway(inner, policies)}


def _entrance(free: int) -> types.CodeType:
    """Code that calls the gateway, with that many free variables: a function keeps its closure when its code changes."""
    if free == 0:
        return _enter.__code__
    names = [f"v{i}" for i in range(free)]
    source = f"""
def make({", ".join(names)}):
    def enter(*args, _gateway=None, **kwargs):
        if False: return {", ".join(names)}
        return _gateway(args, kwargs)
    return enter
"""
    space: dict[str, Any] = {}
    exec(source, space)
    return space["make"](*names).__code__


def _enter(*args: Any, _gateway: Any = None, **kwargs: Any) -> Any:
    return _gateway(args, kwargs)


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [entry for entry in value if isinstance(entry, Tensor)]
    return found


class Gateway:
    """Casts the arguments of a function by its policy and calls it with autocast off; plainly where none applies."""

    def __init__(self, inner: Callable[..., Any], policies: dict[str, str]) -> None:
        self.inner, self.policies = inner, policies

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        policy = device = None
        for name, number in _NUMBERS.items():
            if name in self.policies and _state.enabled(number):
                if any(t.device.type == name for t in _tensors(args, kwargs)):
                    policy, device = self.policies[name], number
        if policy is None:
            return self.inner(*args, **kwargs)
        dtype = self._dtype(policy, _state.dtype(device), args, kwargs)
        args = tuple(_cast(value, dtype) for value in args)
        kwargs = {key: _cast(value, dtype) for key, value in kwargs.items()}
        before = _state.suspend()
        try:
            return self.inner(*args, **kwargs)
        finally:
            _state.resume(before)

    @staticmethod
    def _dtype(policy: str, lower: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if policy == "lower":
            return lower
        if policy == "float32":
            return mg.float32
        dtypes = {t.dtype for t in _tensors(args, kwargs) if t.is_floating_point()}
        return mg.float64 if mg.float64 in dtypes else mg.float32 if dtypes - {lower} else lower


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, Tensor):
        return _state.argument(value, dtype)
    if isinstance(value, (list, tuple)) and any(isinstance(entry, Tensor) for entry in value):
        entries = [_cast(entry, dtype) for entry in value]
        return entries if isinstance(value, list) else tuple(entries)
    return value
