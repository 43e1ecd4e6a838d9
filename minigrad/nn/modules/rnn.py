"""Recurrent layers over whole sequences (RNN, LSTM, GRU) and their single-step cells.

Shapes: T steps, N batch, I input and H hidden width; sequences are (T, N, I), (N, T, I) with batch_first, or (T, I).
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg

from .. import init
from ..parameter import Parameter
from .module import Module

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class RNNBase(Module):
    """Parameters, checks and the call shared by RNN, LSTM and GRU."""

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
        if not 0 <= dropout <= 1:
            raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element being zeroed")
        if hidden_size <= 0 or num_layers <= 0 or proj_size < 0:
            raise ValueError("hidden_size and num_layers must be greater than zero, proj_size not negative")
        if proj_size and (mode != "LSTM" or proj_size >= hidden_size):
            raise ValueError("proj_size is only for LSTM and has to be smaller than hidden_size")
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
        gates, out = _GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            for suffix in [f"l{layer}", f"l{layer}_reverse"][: 1 + bidirectional]:
                width = input_size if layer == 0 else out * (1 + bidirectional)
                shapes = {"weight_ih": (gates, width), "weight_hh": (gates, out)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, f"{name}_{suffix}", Parameter(mg.empty(shape, device=device, dtype=dtype)))
                    self._flat_weights_names.append(f"{name}_{suffix}")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh values, uniform in ±1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    @property
    def all_weights(self) -> list[list[mg.Tensor]]:
        """The parameters of each layer and direction."""
        each = len(self._flat_weights_names) // (self.num_layers * (1 + self.bidirectional))
        flat = [getattr(self, name) for name in self._flat_weights_names]
        return [flat[i : i + each] for i in range(0, len(flat), each)]

    def flatten_parameters(self) -> None:
        """Nothing to do: the parameters are used as they lie in memory."""

    def _states(self, input: mg.Tensor, batch: int, hx: Any) -> tuple[mg.Tensor, ...]:
        """The first states, (layers * directions, N, width) each; zeros when none are given."""
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: 1 + (self.mode == "LSTM")]
        rows = self.num_layers * (1 + self.bidirectional)
        if hx is None:
            return tuple(mg.zeros((rows, batch, w), dtype=input.dtype, device=input.device) for w in widths)
        states = tuple(hx) if self.mode == "LSTM" else (hx,)
        states = tuple(h.unsqueeze(1) if input.dim() == 2 else h for h in states)
        for h, w in zip(states, widths, strict=True):
            if tuple(h.shape) != (rows, batch, w):
                raise RuntimeError(f"Expected hidden size {(rows, batch, w)}, got {list(h.shape)}")
        return states

    def forward(self, input: mg.Tensor, hx: Any = None) -> tuple[mg.Tensor, Any]:
        """Outputs of the last layer at every step, and the last state (h, or (h, c) of an LSTM)."""
        name = type(self).__name__
        if input.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}")
        single = input.dim() == 2
        batch_first = self.batch_first and not single
        sequence = input.unsqueeze(1) if single else input
        states = self._states(input, sequence.shape[0 if batch_first else 1], hx)
        weights = [getattr(self, name) for name in self._flat_weights_names]
        out, *last = getattr(mg, self.mode.lower())(
            sequence, states if self.mode == "LSTM" else states[0], weights, self.bias, self.num_layers, self.dropout,
            self.training, self.bidirectional, batch_first,
        )  # fmt: skip
        if single:
            out, last = out.squeeze(1), [h.squeeze(1) for h in last]
        return out, tuple(last) if self.mode == "LSTM" else last[0]

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(RNNBase):
    """Elman network: h = tanh(w_ih x + b_ih + w_hh h + b_hh).

    Args:
        input_size, hidden_size: widths.
        num_layers: layers on top of each other.
        nonlinearity: "tanh" or "relu".
        bias: learn biases.
        batch_first: sequences come as (N, T, I).
        dropout: probability of dropping an output between layers while training.
        bidirectional: add a second direction.

    Example:
        >>> out, h = mg.nn.RNN(3, 4)(mg.zeros(5, 2, 3))
        >>> out.shape, h.shape
        (minigrad.Size([5, 2, 4]), minigrad.Size([1, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self_mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(
            self_mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); arguments as in RNN, and proj_size: width of a projected h."""

    def __init__(
        self,
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
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", *sizes, device, dtype)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al., arXiv:1406.1078); arguments as in RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class _Cell(Module):
    __constants__ = ["input_size", "hidden_size", "bias"]
    _gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self._gates * hidden_size
        self.weight_ih = Parameter(mg.empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh = Parameter(mg.empty((rows, hidden_size), device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(mg.empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh values, uniform in ±1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _zeros(self, input: mg.Tensor) -> mg.Tensor:
        return mg.zeros((*input.shape[:-1], self.hidden_size), dtype=input.dtype, device=input.device)

    def extra_repr(self) -> str:
        """The widths."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else text + f", bias={self.bias}"


class RNNCell(_Cell):
    """One step of an Elman network: (N, I) and (N, H) to (N, H)."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: mg.Tensor, hx: mg.Tensor | None = None) -> mg.Tensor:
        """The next state."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = mg.rnn_tanh_cell if self.nonlinearity == "tanh" else mg.rnn_relu_cell
        return step(input, self._zeros(input) if hx is None else hx, *self._weights())

    def extra_repr(self) -> str:
        """The widths and the nonlinearity."""
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else text + f", nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell):
    """One step of an LSTM: (N, I) and ((N, H), (N, H)) to ((N, H), (N, H))."""

    _gates = 4

    def forward(self, input: mg.Tensor, hx: Any = None) -> tuple[mg.Tensor, mg.Tensor]:
        """The next state (h, c)."""
        state = (self._zeros(input), self._zeros(input)) if hx is None else hx
        return mg.lstm_cell(input, state, *self._weights())


class GRUCell(_Cell):
    """One step of a GRU: (N, I) and (N, H) to (N, H)."""

    _gates = 3

    def forward(self, input: mg.Tensor, hx: mg.Tensor | None = None) -> mg.Tensor:
        """The next state."""
        return mg.gru_cell(input, self._zeros(input) if hx is None else hx, *self._weights())
