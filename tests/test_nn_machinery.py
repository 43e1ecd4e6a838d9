"""Module, hooks, state, containers, usual subclasses: small programs on PyTorch and on minigrad give equal results and errors."""

from __future__ import annotations

import pickle
import warnings

import pytest

torch = pytest.importorskip("torch")

import nn_programs_containers  # noqa: E402
import nn_programs_module  # noqa: E402
import nn_programs_state  # noqa: E402
import nn_programs_usage  # noqa: E402
import nn_programs_wild  # noqa: E402
from nn_programs import programs_of  # noqa: E402

import minigrad as mg  # noqa: E402

FILES = (nn_programs_state, nn_programs_module, nn_programs_containers, nn_programs_wild, nn_programs_usage)
PROGRAMS = [f for file in FILES for f in programs_of(file)]


def _outcome(program, library):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return program(library)
        except Exception as error:  # the kind and the text of an error are part of the interface
            return type(error).__name__, str(error)


def _own(value):
    """A result with our package's name for theirs: sizes and types print with it."""
    if isinstance(value, str):
        return value.replace("minigrad", "torch").replace("torch._core.", "torch.")
    if isinstance(value, dict):
        return {k: _own(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_own(v) for v in value]
    return value


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_same_outcome(program):
    assert _own(_outcome(program, mg)) == _own(_outcome(program, torch))


def test_layers_that_hold_a_function_survive_its_wrapping():
    """The first Tensor subclass wraps F.relu for __torch_function__; layers made before and after pickle and count as ReLU."""
    before = mg.nn.TransformerEncoderLayer(8, 2, 8)

    class Own(mg.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs or {})

    after = mg.nn.TransformerEncoderLayer(8, 2, 8, activation=mg.nn.functional.relu)
    for layer in (before, after, mg.nn.TransformerEncoderLayer(8, 2, 8)):
        assert layer.activation_relu_or_gelu == 1
        twin = pickle.loads(pickle.dumps(layer))
        assert twin.activation == mg.nn.functional.relu
        assert pickle.loads(pickle.dumps(mg.nn.functional.relu)) == mg.nn.functional.relu
