"""torch.__future__: switches of nn.Module's conversions; what is set can be read back."""

from __future__ import annotations

_switches = {"overwrite": False, "swap": False}


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Remembered: `module.to()` changes `.data` of the parameters."""
    _switches["overwrite"] = bool(value)


def get_overwrite_module_params_on_conversion() -> bool:
    """What was set."""
    return _switches["overwrite"]


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Remembered: `module.to()` changes `.data` of the parameters."""
    _switches["swap"] = bool(value)


def get_swap_module_params_on_conversion() -> bool:
    """What was set."""
    return _switches["swap"]
