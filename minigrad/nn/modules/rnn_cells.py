"""Recurrent cells: one step of an RNN, LSTM or GRU. Shapes: N batch, I input and H hidden width; N may be absent."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg

from .. import init
from ..parameter import Parameter
from .module import Module

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """Parameters and checks of the cells; `num_chunks` is the number of gates."""

    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
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

    def _step(self, input: mg.Tensor, states: tuple[mg.Tensor, ...] | None, count: int, step: Any) -> tuple[mg.Tensor, ...]:
        """Check, add a batch dimension where there is none, and call `step(input, states)`."""
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for i, h in enumerate(states or ()):
            if h.dim() not in (1, 2):
                what = f"hx[{i}]" if count > 1 else "hidden"
                raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {h.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}")
        batched = input.dim() == 2
        if states is None:
            states = (mg.zeros((*input.shape[:-1], self.hidden_size), dtype=input.dtype, device=input.device),) * count
        for i, h in enumerate(states):
            if batched and h.dim() == 2 and h.shape[0] != input.shape[0]:
                raise RuntimeError(f"Input batch size {input.shape[0]} doesn't match hidden{i} batch size {h.shape[0]}")
            if h.shape[-1] != self.hidden_size:
                raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {h.shape[-1]}, expected {self.hidden_size}")
        if batched:
            return step(input, states)
        if any(h.dim() != 1 for h in states):
            raise RuntimeError(f"{name}: an input without a batch dimension needs such a state: got {tuple(states[0].shape)}")
        states = tuple(h.unsqueeze(0) for h in states)
        return tuple(h.squeeze(0) for h in step(input.unsqueeze(0), states))

    def extra_repr(self) -> str:
        """The widths."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else text + f", bias={self.bias}"


class RNNCell(RNNCellBase):
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
        super().__init__(input_size, hidden_size, bias, num_chunks=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: mg.Tensor, hx: mg.Tensor | None = None) -> mg.Tensor:
        """The next state."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = mg.rnn_tanh_cell if self.nonlinearity == "tanh" else mg.rnn_relu_cell
        states = None if hx is None else (hx,)
        return self._step(input, states, 1, lambda x, h: (step(x, h[0], *self._weights()),))[0]

    def extra_repr(self) -> str:
        """The widths and the nonlinearity."""
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else text + f", nonlinearity={self.nonlinearity}"


class LSTMCell(RNNCellBase):
    """One step of an LSTM: (N, I) and ((N, H), (N, H)) to ((N, H), (N, H))."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=4, device=device, dtype=dtype)

    def forward(self, input: mg.Tensor, hx: Any = None) -> tuple[mg.Tensor, mg.Tensor]:
        """The next state (h, c)."""
        states = None if hx is None else tuple(hx)
        return self._step(input, states, 2, lambda x, h: mg.lstm_cell(x, h, *self._weights()))


class GRUCell(RNNCellBase):
    """One step of a GRU: (N, I) and (N, H) to (N, H)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=3, device=device, dtype=dtype)

    def forward(self, input: mg.Tensor, hx: mg.Tensor | None = None) -> mg.Tensor:
        """The next state."""
        states = None if hx is None else (hx,)
        return self._step(input, states, 1, lambda x, h: (mg.gru_cell(x, h[0], *self._weights()),))[0]
