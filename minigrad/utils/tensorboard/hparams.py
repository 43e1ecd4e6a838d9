"""The three messages of TensorBoard's hparams plugin (tensorboard/plugins/hparams/{api,plugin_data,hparams}.proto)."""

from __future__ import annotations

import time
from typing import Any

import minigrad as mg

from . import proto

_STRING, _BOOL, _FLOAT64 = 1, 2, 3


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, mg.Tensor) or type(value).__module__ == "numpy":
        value = value.item()
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"value should be one of int, float, str, bool, or tensor: hparam {name!r} is {type(value).__name__}")
    return value


def _kind(value: Any) -> int:
    return _BOOL if isinstance(value, bool) else _FLOAT64 if isinstance(value, (int, float)) else _STRING


def hparams_summaries(hparams: dict[str, Any], metrics: dict[str, Any], domains: dict[str, list] | None) -> list[bytes]:
    """Summaries of the experiment, of the start and of the end of a session."""
    domains = domains or {}
    if not isinstance(domains, dict) or not set(domains) <= set(hparams):
        raise TypeError("parameter: hparam_domain_discrete[k] should be a list of values of the hparam k")
    infos = starts = b""
    for name, raw in hparams.items():
        value = _plain(name, raw)
        if value is None:
            continue
        info = proto.block(1, name) + proto.number(4, _kind(value))
        if name in domains:
            if not isinstance(domains[name], list) or not all(_kind(v) == _kind(value) for v in domains[name]):
                raise TypeError(f"parameter: hparam_domain_discrete[{name}] should be a list of same type as hparam_dict[{name}].")
            info += proto.block(5, b"".join(proto.block(1, proto.any_value(v)) for v in domains[name]))
        infos += proto.block(4, info)
        starts += proto.block(1, proto.block(1, name) + proto.block(2, proto.any_value(value)))
    for tag in metrics:
        infos += proto.block(5, proto.block(1, proto.block(2, tag)))
    end = proto.number(1, 1) + proto.double(2, time.time())  # STATUS_SUCCESS
    return [
        proto.value(tag, b"", proto.plugin("hparams", proto.block(field, content)))
        for tag, field, content in (
            ("_hparams_/experiment", 2, infos), ("_hparams_/session_start_info", 3, starts), ("_hparams_/session_end_info", 4, end),
        )
    ]  # fmt: skip
