"""Recurrent layers over whole sequences: RNN, LSTM, GRU; the single-step cells are in `rnn_cells.py`.

Shapes: T steps, N batch, I input and H hidden width; sequences are (T, N, I), (N, T, I) with batch_first, (T, I), or a
PackedSequence (minigrad/nn/utils/rnn.py), whose steps run without padding.
"""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import minigrad as mg

from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .module import Module
from .rnn_cells import GRUCell, LSTMCell, RNNCell, RNNCellBase

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def _apply_permutation(tensor: mg.Tensor, permutation: mg.Tensor, dim: int = 1) -> mg.Tensor:
    return tensor.index_select(dim, permutation)


def apply_permutation(tensor: mg.Tensor, permutation: mg.Tensor, dim: int = 1) -> mg.Tensor:
    """`tensor.index_select(dim, permutation)` (deprecated)."""
    warnings.warn(
        "`apply_permutation` is deprecated, please use `tensor.index_select(dim, permutation)` instead", FutureWarning, stacklevel=2
    )
    return _apply_permutation(tensor, permutation, dim)


def _check_sizes(
    mode: str, input_size: Any, hidden_size: Any, num_layers: Any, dropout: Any, proj_size: int
) -> None:
    if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
        raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element being zeroed")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers greater "
            f"than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    if hidden_size <= 0:
        raise ValueError("hidden_size must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    if mode not in _GATES:
        raise ValueError(f"Unrecognized RNN mode: {mode}")


class RNNBase(Module):
    """Parameters, checks and the call shared by RNN, LSTM and GRU.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".
        input_size, hidden_size: widths.
        num_layers: layers on top of each other.
        bias: learn biases.
        batch_first: sequences come as (N, T, I).
        dropout: probability of dropping an output between layers while training.
        bidirectional: add a second direction.
        proj_size: width of a projected h (LSTM only); 0 for none.
    """

    __constants__ = [
        "mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size",
    ]  # fmt: skip

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_sizes(mode, input_size, hidden_size, num_layers, dropout, proj_size)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._flat_weights_names: list[str] = []
        self._all_weights: list[list[str]] = []
        gates, out = _GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            for suffix in [f"l{layer}", f"l{layer}_reverse"][: 1 + bool(bidirectional)]:
                width = input_size if layer == 0 else out * (1 + bool(bidirectional))
                shapes = {"weight_ih": (gates, width), "weight_hh": (gates, out)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, f"{name}_{suffix}", Parameter(mg.empty(shape, device=device, dtype=dtype)))
                self._all_weights.append([f"{name}_{suffix}" for name in shapes])
                self._flat_weights_names += self._all_weights[-1]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh values, uniform in ±1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    @property
    def _flat_weights(self) -> list[mg.Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[mg.Tensor]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing to do: the parameters are used as they lie in memory."""

    # ---- checks, which subclasses in public programs call and override ------------------------------------------

    def check_input(self, input: mg.Tensor, batch_sizes: mg.Tensor | None) -> None:
        """Check dtype, number of dimensions and width of the (batched or packed) input."""
        weight = self._flat_weights[0].dtype
        if input.dtype != weight and not _autocasts():
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight}). Convert input: input.to({weight}), "
                f"or convert model: model.to({input.dtype})"
            )
        wanted = 2 if batch_sizes is not None else 3
        if input.dim() != wanted:
            raise RuntimeError(f"input must have {wanted} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}")

    def _expected_size(self, input: mg.Tensor, batch_sizes: mg.Tensor | None, width: int) -> tuple[int, int, int]:
        batch = int(batch_sizes[0]) if batch_sizes is not None else input.size(0 if self.batch_first else 1)
        return self.num_layers * (1 + bool(self.bidirectional)), batch, width

    def get_expected_hidden_size(self, input: mg.Tensor, batch_sizes: mg.Tensor | None) -> tuple[int, int, int]:
        """(layers * directions, N, H) of the state h."""
        return self._expected_size(input, batch_sizes, self.proj_size or self.hidden_size)

    def check_hidden_size(
        self, hx: mg.Tensor, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Check the size of a state."""
        if tuple(hx.size()) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: mg.Tensor, hidden: Any, batch_sizes: mg.Tensor | None) -> None:
        """Check input and state."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: mg.Tensor | None) -> Any:
        """The state with its sequences in another order."""
        return hx if permutation is None else _apply_permutation(hx, permutation)

    # ---- the call ------------------------------------------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Outputs of the last layer at every step, and the last state (h, or (h, c) of an LSTM).

        Args:
            input: (T, N, I), (N, T, I) with batch_first, (T, I), or a PackedSequence.
            hx: first state, (layers * directions, N, H), for an LSTM (h, c); zeros when omitted.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        name = type(self).__name__
        if input.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        single = input.dim() == 2
        if single:
            input = input.unsqueeze(0 if self.batch_first else 1)
        hx = self._first_state(input, None, hx, single)
        self.check_forward_args(input, hx, None)
        op, options = getattr(mg, self.mode.lower()), (self.num_layers, self.dropout, self.training, bool(self.bidirectional))
        out, *last = op(input, hx, self._flat_weights, bool(self.bias), *options, self.batch_first)
        if single:
            out, last = out.squeeze(0 if self.batch_first else 1), [h.squeeze(1) for h in last]
        return out, self._joined(last)

    def _forward_packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, sorted_indices, unsorted_indices = input
        given = hx is not None
        hx = self._first_state(data, batch_sizes, hx, False)
        if given:
            hx = self.permute_hidden(hx, sorted_indices)
        self.check_forward_args(data, hx, batch_sizes)
        op, options = getattr(mg, self.mode.lower()), (self.num_layers, self.dropout, self.training, bool(self.bidirectional))
        out, *last = op(data, batch_sizes, hx, self._flat_weights, bool(self.bias), *options)
        packed = PackedSequence(out, batch_sizes, sorted_indices, unsorted_indices)
        return packed, self.permute_hidden(self._joined(last), unsorted_indices)

    def _joined(self, states: Any) -> Any:
        """States as this kind of layer shows them: one tensor, or the pair of an LSTM."""
        return tuple(states) if self.mode == "LSTM" else states[0]

    def _first_state(self, input: mg.Tensor, batch_sizes: mg.Tensor | None, hx: Any, single: bool) -> Any:
        """The given state with a batch dimension, or zeros."""
        if hx is None:
            widths = (self.proj_size or self.hidden_size, self.hidden_size)[: 1 + (self.mode == "LSTM")]
            made = {"dtype": input.dtype, "device": input.device}
            return self._joined([mg.zeros(self._expected_size(input, batch_sizes, w), **made) for w in widths])
        states = (hx[0], hx[1]) if self.mode == "LSTM" else (hx,)
        if batch_sizes is None and any(h.dim() != 3 - single for h in states):
            kind = "unbatched 2-D" if single else "batched 3-D"
            if self.mode == "LSTM":
                got = f"({states[0].dim()}-D, {states[1].dim()}-D) tensors"
                raise RuntimeError(f"For {kind} input, hx and cx should also be {3 - single}-D but got {got}")
            raise RuntimeError(f"For {kind} input, hx should also be {3 - single}-D but got {states[0].dim()}-D tensor")
        return self._joined([h.unsqueeze(1) if single else h for h in states])

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("proj_size", 0)  # pickles from before projections existed
        for made_anew in ("_flat_weights", "_flat_weight_refs"):
            self.__dict__.pop(made_anew, None)


def _autocasts() -> bool:
    enabled = getattr(mg, "is_autocast_enabled", None)
    return bool(enabled and enabled("cpu"))


class RNN(RNNBase):
    """Elman network: h = tanh(w_ih x + b_ih + w_hh h + b_hh).

    Args:
        input_size, hidden_size, num_layers: as in RNNBase.
        nonlinearity: "tanh" or "relu"; the fourth argument.
        bias, batch_first, dropout, bidirectional, device, dtype: as in RNNBase.

    Example:
        >>> out, h = mg.nn.RNN(3, 4)(mg.zeros(5, 2, 3))
        >>> out.shape, h.shape
        (minigrad.Size([5, 2, 4]), minigrad.Size([1, 2, 4]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); the arguments are those of RNNBase without `mode`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input: mg.Tensor, batch_sizes: mg.Tensor | None) -> tuple[int, int, int]:
        """(layers * directions, N, H) of the state c."""
        return self._expected_size(input, batch_sizes, self.hidden_size)

    def check_forward_args(self, input: mg.Tensor, hidden: Any, batch_sizes: mg.Tensor | None) -> None:
        """Check input and states."""
        self.check_input(input, batch_sizes)
        expected = self.get_expected_hidden_size(input, batch_sizes), self.get_expected_cell_size(input, batch_sizes)
        for i in (0, 1):
            self.check_hidden_size(hidden[i], expected[i], f"Expected hidden[{i}] size {{}}, got {{}}")

    def permute_hidden(self, hx: Any, permutation: mg.Tensor | None) -> Any:
        """The states with their sequences in another order."""
        return hx if permutation is None else tuple(_apply_permutation(h, permutation) for h in hx)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al., arXiv:1406.1078); the arguments are those of RNNBase without `mode`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
