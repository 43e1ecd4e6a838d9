"""`repr(tensor)`: PyTorch's format: summarised beyond 1000 elements, aligned columns, dtype and grad_fn where they matter."""

from __future__ import annotations

import math
from typing import Any

from minigrad import _core

Tensor = _core.Tensor
_DEFAULTS = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
_options = dict(_DEFAULTS)
_PROFILES = {
    "default": _DEFAULTS,
    "short": {**_DEFAULTS, "precision": 2, "edgeitems": 2},
    "full": {**_DEFAULTS, "threshold": math.inf},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors print.

    Args:
        precision: digits after the point. threshold: elements beyond which the middle is left out. edgeitems: how many stay at
        each end. linewidth: characters per line. profile: "default", "short" or "full". sci_mode: force or forbid 1e+00.
    """
    if profile is not None:
        _options.update(_PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options.update({k: v for k, v in given.items() if v is not None})
    _options["sci_mode"] = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force."""
    return dict(_options)


class _ComplexFormatter:
    """Two formatters, for the real and the imaginary parts."""

    def __init__(self, values: list[complex]) -> None:
        self.real = _Formatter([v.real for v in values], True)
        self.imag = _Formatter([v.imag for v in values], True)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, v: complex) -> str:
        imag = self.imag(v.imag).lstrip()
        return self.real(v.real) + (imag if imag[0] in "+-" else "+" + imag) + "j"


class _Formatter:
    """Column width and number style for all values that will be shown."""

    def __init__(self, values: list[Any], floating: bool) -> None:
        self.floating, self.sci, self.integers, self.width = floating, False, True, 1
        if not floating:
            self.width = max((len(str(v)) for v in values), default=1)
            return
        finite = [v for v in values if math.isfinite(v) and v != 0]
        if not finite:
            return
        low, high = min(map(abs, finite)), max(map(abs, finite))
        self.integers = all(v == math.ceil(v) for v in finite)
        wide = high / low > 1000.0 or high > 1.0e8
        self.sci = wide or (not self.integers and low < 1.0e-4)
        if _options["sci_mode"] is not None:
            self.sci = _options["sci_mode"]
        self.width = max(len(self.number(v)) for v in finite)

    def number(self, v: float) -> str:
        if self.sci:
            return f"{v:.{_options['precision']}e}"
        if self.integers:
            text = f"{v:.0f}"
            return text + "." if math.isfinite(v) else text
        return f"{v:.{_options['precision']}f}"

    def __call__(self, v: Any) -> str:
        return (self.number(v) if self.floating else str(v)).rjust(self.width)


def _summarised(x: Tensor) -> Tensor:
    """The corners of x that will be printed."""
    import minigrad

    edge = _options["edgeitems"]
    for dim in range(x.dim()):
        if x.shape[dim] > 2 * edge:
            x = minigrad.cat([x.narrow(dim, 0, edge), x.narrow(dim, x.shape[dim] - edge, edge)], dim)
    return x


def _vector(values: list[Any], indent: int, summarise: bool, fmt: _Formatter) -> str:
    per_line = max(1, int((_options["linewidth"] - indent) // (fmt.width + 2)))
    edge = _options["edgeitems"]
    if summarise and len(values) > 2 * edge:
        items = [fmt(v) for v in values[:edge]] + [" ..."] + [fmt(v) for v in values[-edge:]]
    else:
        items = [fmt(v) for v in values]
    lines = [", ".join(items[k : k + per_line]) for k in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(x: Tensor, indent: int, summarise: bool, fmt: _Formatter) -> str:
    if x.dim() == 0:
        return fmt(x.item())
    if x.dim() == 1:
        return _vector(_shown(x) if summarise else x.tolist(), indent, summarise, fmt)
    edge = _options["edgeitems"]
    if summarise and x.shape[0] > 2 * edge:
        rows = [_nested(x[k], indent + 1, summarise, fmt) for k in range(edge)] + ["..."]
        rows += [_nested(x[k], indent + 1, summarise, fmt) for k in range(len(x) - edge, len(x))]
    else:
        rows = [_nested(x[k], indent + 1, summarise, fmt) for k in range(len(x))]
    return "[" + ("," + "\n" * (x.dim() - 1) + " " * (indent + 1)).join(rows) + "]"


def _shown(x: Tensor) -> list[Any]:
    """First and last items with a filler between, so that `_vector` sees a long list without converting a long tensor."""
    edge = _options["edgeitems"]
    if len(x) <= 2 * edge:
        return x.tolist()
    return x[:edge].tolist() + [0] + x[len(x) - edge :].tolist()


def _suffixes(x: Tensor) -> list[str]:
    out = []
    if x.device.type != "cpu":
        out.append(f"device='{x.device}'")
    meta = x.device.type == "meta"
    if meta or (x.numel() == 0 and x.dim() != 1):
        out.append(f"size={tuple(x.shape)}")
    has_default = x.dtype in (_core.get_default_dtype(), _core.get_default_dtype().to_complex(), _core.int64, _core.bool)
    if x.dtype != _core.get_default_dtype() if meta or x.numel() == 0 else not has_default:
        out.append(f"dtype={x.dtype}")
    if x.grad_fn is not None:
        out.append(f"grad_fn=<{x.grad_fn.name()}>")
    elif x.requires_grad:
        out.append("requires_grad=True")
    return out


def tensor_text(self: Tensor) -> str:
    """The full repr of a tensor."""
    prefix = "tensor("
    indent = len(prefix)
    before = _core.set_grad_enabled(False)
    try:
        x = self.detach()
        if x.device.type == "meta":
            body = "..."
        elif x.numel() == 0:
            body = "[]"
        else:
            summarise = x.numel() > _options["threshold"]
            sample = _summarised(x) if summarise else x
            flat = sample.reshape(-1).tolist()
            style = _ComplexFormatter(flat) if x.is_complex() else _Formatter(flat, x.is_floating_point())
            body = _nested(x, indent, summarise, style)
    finally:
        _core.set_grad_enabled(before)
    suffixes = _suffixes(self)
    text = prefix + body
    last = len(text) - text.rfind("\n") + 1  # two more than it is: PyTorch's count
    for suffix in suffixes:
        if last + len(suffix) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + suffix
            last = indent + len(suffix)
        else:
            text += ", " + suffix
            last += len(suffix) + 2
    text += ")"
    if type(self) is not Tensor and type(self).__name__ == "Parameter":
        return "Parameter containing:\n" + text
    return text
