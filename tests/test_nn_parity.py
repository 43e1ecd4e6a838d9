"""The whole of torch.nn and torch.nn.functional against ours: nothing missing, equal signatures, class tree, evaluation mode.

Outputs, gradients, training steps, repr and state of each module are compared by test_nn_modules.py over the same table.
"""

from __future__ import annotations

import inspect
import warnings

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as torch_functional  # noqa: E402
from nn_cases import LOSSES, MODULES, PROBABILITY_LOSSES  # noqa: E402
from twins import array, assert_close, flat, ours  # noqa: E402

import minigrad as mg  # noqa: E402

NOT_IN_THE_TABLE = {
    "Container": "deprecated in PyTorch; test_nn_machinery.py makes one",
    "CrossMapLRN2d": "PyTorch's code differs from its formula (see the class); equal where the window covers all channels, tested below",
    "Module": "the base class: test_nn_module_base.py, test_nn_machinery.py",
    "NLLLoss2d": "the deprecated name of NLLLoss, which is in the table",
    "RNNBase": "the base of RNN, LSTM and GRU, which are in the table",
    "RNNCellBase": "the base of the cells, which are in the table",
}
ABSENT_MODULES = {name: "quantisation is out of scope" for name in ("intrinsic", "qat", "quantizable", "quantized")}


def _public_classes():
    for name in sorted(dir(torch.nn)):
        value = getattr(torch.nn, name)
        if inspect.isclass(value) and issubclass(value, torch.nn.Module) and not name.startswith("_"):
            yield name


def test_every_module_is_in_the_table_or_has_a_reason():
    covered = {case.name for case in MODULES + LOSSES + PROBABILITY_LOSSES}
    classes = set(_public_classes())
    assert classes - covered - NOT_IN_THE_TABLE.keys() == set()
    assert covered & NOT_IN_THE_TABLE.keys() == set()
    assert NOT_IN_THE_TABLE.keys() <= classes


def test_no_public_name_of_nn_is_missing():
    missing = {n for n in dir(torch.nn) if not n.startswith("_") and not hasattr(mg.nn, n)}
    assert missing - ABSENT_MODULES.keys() == set()


def _plain(default):
    """A default in a form that can be compared across the two libraries."""
    if callable(default):
        return getattr(default, "__name__", repr(default))
    if isinstance(default, tuple):
        return tuple(_plain(d) for d in default)
    return default


def _arguments(function):
    return [
        (p.name, "empty" if p.default is p.empty else _plain(p.default), p.kind)
        for p in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("name", list(_public_classes()))
def test_constructor_and_forward_signatures(name):
    mine, theirs = getattr(mg.nn, name), getattr(torch.nn, name)
    assert _arguments(mine.__init__) == _arguments(theirs.__init__)
    if "forward" in vars(theirs):
        assert [a[0] for a in _arguments(mine.forward)] == [a[0] for a in _arguments(theirs.forward)]


def test_class_tree():
    names = list(_public_classes())
    for a in names:
        for b in names:
            expected = issubclass(getattr(torch.nn, a), getattr(torch.nn, b))
            assert issubclass(getattr(mg.nn, a), getattr(mg.nn, b)) == expected, f"issubclass({a}, {b})"


@pytest.mark.parametrize("name", list(_public_classes()))
def test_import_path_and_own_public_methods(name):
    theirs = getattr(torch.nn, name)
    if theirs.__module__.startswith("torch.nn.modules."):
        family = theirs.__module__.removeprefix("torch.nn.modules.")
        home = getattr(mg.nn.modules, family)
        assert getattr(home, name) is getattr(mg.nn, name)
    missing = [n for n in dir(theirs) if not n.startswith("_") and not hasattr(getattr(mg.nn, name), n)]
    several_devices = {"replicate", "scatter", "parallel_apply", "gather"} if name == "DataParallel" else set()
    assert set(missing) - several_devices == set()
    assert set(getattr(theirs, "__constants__", ())) <= set(getattr(getattr(mg.nn, name), "__constants__", ()))


@pytest.mark.parametrize("case", [c for c in MODULES if not c.name.endswith("Dropout")], ids=repr)
def test_attributes_and_evaluation_mode(case):
    module, reference = case.pair()
    for key, value in vars(reference).items():
        if key.startswith("_"):
            continue
        assert hasattr(module, key), key
        if isinstance(value, (bool, int, float, str, tuple, list, type(None))):
            assert _plain(getattr(module, key)) == value or list(getattr(module, key)) == list(value), key
    module.eval()
    reference.eval()
    inputs = [tensor for tensor, _ in case.inputs()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        actual = case.run(module, mg, *(ours(t) for t in inputs))
        expected = case.run(reference, torch, *inputs)
    for a, e in zip(flat(actual), flat(expected), strict=True):
        assert_close(a, e, rtol=1e-4, atol=1e-5)
    for (name, a), (_, e) in zip(module.named_buffers(), reference.named_buffers(), strict=True):
        assert_close(a, e, name)


INITIALISED = [
    ("Linear", (400, 300)), ("Bilinear", (40, 30, 20)), ("Conv1d", (30, 40, 5)), ("Conv2d", (30, 40, 3)), ("Conv3d", (10, 12, 3)),
    ("ConvTranspose2d", (30, 40, 3)), ("Embedding", (300, 40)), ("EmbeddingBag", (300, 40)), ("LSTM", (60, 50)), ("GRU", (60, 50)),
    ("RNN", (60, 50)), ("LSTMCell", (60, 50)), ("MultiheadAttention", (60, 4)), ("Transformer", (32, 2, 1, 1, 64)), ("PReLU", (7, 0.3)),
    ("BatchNorm1d", (6,)), ("LayerNorm", (6,)), ("AdaptiveLogSoftmaxWithLoss", (80, 90, [30])),
]  # fmt: skip


@pytest.mark.parametrize("name, args", INITIALISED, ids=[n for n, _ in INITIALISED])
def test_initial_distributions(name, args):
    mg.manual_seed(0)
    torch.manual_seed(0)
    mine, theirs = getattr(mg.nn, name)(*args), getattr(torch.nn, name)(*args)
    for (key, a), (_, e) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        a, e = array(a).ravel(), array(e).ravel()
        if e.std() == 0 or e.size == 1:
            assert (a == e).all(), key
            continue
        share = 6 / e.size**0.5  # six standard errors, roughly, of either estimate
        assert abs(a.std() / e.std() - 1) < share, key
        assert abs(a.mean() - e.mean()) < share * e.std(), key
        if e.size > 1000:
            assert abs(abs(a).max() / abs(e).max() - 1) < 0.25, key


def test_cross_map_lrn_where_the_window_covers_all_channels():
    x = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(1))
    assert_close(mg.nn.CrossMapLRN2d(5, alpha=0.3)(ours(x)), torch.nn.CrossMapLRN2d(5, alpha=0.3)(x))
    assert repr(mg.nn.CrossMapLRN2d(5)) == repr(torch.nn.CrossMapLRN2d(5))


# ---- nn.functional ---------------------------------------------------------------------------------------------------
NOT_FUNCTIONS = {
    "Callable", "DType", "Optional", "ScalingType", "SwizzleType", "TYPE_CHECKING", "boolean_dispatch", "dataclasses", "grad", "importlib",
    "math", "np", "reproducibility_notes", "sparse_support_notes", "tf32_notes", "torch", "warnings", "assert_int_or_pair",
}  # fmt: skip  imports and texts of that file, nobody's interface
ABSENT_FUNCTIONS = {
    "grouped_mm": "matrix products of low-precision tensors on recent GPUs",
    "scaled_grouped_mm": "as grouped_mm",
    "scaled_mm": "as grouped_mm",
}


def test_no_public_name_of_functional_is_missing():
    missing = {n for n in dir(torch_functional) if not n.startswith("_") and not hasattr(mg.nn.functional, n)}
    assert missing - NOT_FUNCTIONS - ABSENT_FUNCTIONS.keys() == set()


def _signature(function):
    try:
        return _arguments(function)
    except (ValueError, TypeError):
        return None


def _python_functions():
    for name in sorted(dir(torch_functional)):
        function = getattr(torch_functional, name)
        if name.startswith("_") or not inspect.isfunction(function) or name in NOT_FUNCTIONS | ABSENT_FUNCTIONS.keys():
            continue
        signature = _signature(function)
        if signature is not None and not any(kind == inspect.Parameter.VAR_POSITIONAL for *_, kind in signature):
            yield name


@pytest.mark.parametrize("name", list(_python_functions()))
def test_functional_signature(name):
    """Names, order and defaults; torch's Python functions only: builtins do not tell."""
    theirs = _signature(getattr(torch_functional, name))
    mine = _signature(getattr(mg.nn.functional, name))
    assert mine is not None, "not introspectable"
    assert [(n, d) for n, d, _ in mine] == [(n, d) for n, d, _ in theirs]
