"""mg.export(format="c"): the source compiles without a warning and gives the library's results, also under the sanitizers."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import csource_moves, csource_ops
from minigrad.nn import functional as F
from minigrad.op import registry
from minigrad.testing.calls import accepted_dtypes, as_tuple, tensors, writes
from minigrad.testing.samples import samples

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import models  # noqa: E402

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-DMODEL_MAIN"]
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
_NUMPY = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8,
          "uint8": np.uint8, "bool": np.uint8}  # fmt: skip


def run(f: Callable, args: tuple, folder: Path, flags: tuple[str, ...] = ("-O2",)) -> list[np.ndarray]:
    """The results of f's exported C, compiled and run as a program of its own."""
    program = mg.export(f, args, path=folder / "model.c", format="c")
    built = subprocess.run([str(CC), *FLAGS, *flags, "model.c", "-lm", "-o", "model"], cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:3000]
    command = ["./model"]
    if "int model_load" in (folder / "model.c").read_text():
        command.append("model.bin")
    for spec in program.data["inputs"]:
        if "argument" in spec:
            args[spec["argument"]].contiguous().numpy().tofile(folder / f"in{spec['argument']}")
            command.append(f"in{spec['argument']}")
    done = subprocess.run(command, cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    out, at = [], 0
    data = mg.compiler.program._core.graph_data(program.graph)
    for id in data["outputs"]:
        value = data["values"][id]
        kind = _NUMPY[str(value["dtype"]).rpartition(".")[2]]
        count = math.prod(value["sizes"])
        out.append(np.frombuffer(done.stdout[at:], kind, count).reshape(value["sizes"]))
        at += count * np.dtype(kind).itemsize
    assert at == len(done.stdout)
    return out


def expect_close(got: np.ndarray, want: Any, limit: float = 1e-5) -> None:
    want = want.detach().numpy()
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        assert (got == want).all()
        return
    finite = np.isfinite(want)
    assert (np.isnan(got) == np.isnan(want)).all() and (got[np.isinf(want)] == want[np.isinf(want)]).all()
    if finite.any():
        assert np.abs(got[finite] - want[finite]).max() <= limit * max(np.abs(want[finite]).max(), 1e-2)


def model_and_input(name: str, tiny: bool) -> tuple[Callable, Any]:
    mg.manual_seed(0)
    work = models.MODELS[name](mg, tiny)
    x = dict(zip(work.loss.__code__.co_freevars, (c.cell_contents for c in work.loss.__closure__)))["x"]
    model = work.model.eval()
    return ((lambda x: model(x)[0]) if name.endswith("gpt") else model), x


@pytest.mark.parametrize("flags", [("-O2",), tuple(SANITIZED)], ids=["plain", "sanitized"])
@pytest.mark.parametrize("name", ["mlp", "cnn28", "resnet18_224", "resnet18_32", "chargpt"])
def test_inference(name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    f, x = model_and_input(name, tiny=True)
    with mg.no_grad():
        (got,) = run(f, (x,), tmp_path, flags)
        expect_close(got, f(x))


def test_chargpt_at_full_size(tmp_path: Path) -> None:
    f, x = model_and_input("chargpt", tiny=False)
    with mg.no_grad():
        (got,) = run(f, (x,), tmp_path)
        expect_close(got, f(x))


def _one_call(name: str, dtype: str) -> tuple[Callable, list, dict] | None:
    info = registry[name]
    if dtype not in accepted_dtypes(info) or writes(info):
        return None
    for sample in samples(info, dtype):
        if not sample.specs() or any(s.dtype in ("float16", "bfloat16") for s in sample.specs()):
            continue
        args, kwargs, _ = tensors(info, sample)
        results = as_tuple(info.function(*args, **kwargs))
        if results and sum(r.numel() for r in results) and not any(r.is_complex() for r in results):
            return info.function, args, kwargs
    return None


# What C's own functions leave out, or compute less exactly than 1e-5 near zeros and poles.
WITHOUT = {"erfinv", "digamma", "gcd", "lcm", "entr"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_every_pointwise_op(dtype: str, tmp_path: Path) -> None:
    """All of them in one program, in each of the types."""
    found = {}
    for name, info in registry.items():
        if info.pointwise and info.expr is not None and name not in WITHOUT:
            call = _one_call(name, dtype)
            if call is not None:
                found[name] = call
    calls = {}
    for name, call in found.items():
        try:
            mg.export(lambda c=call: c[0](*c[1], **c[2]), path=tmp_path / "one.c", format="c")
        except NotImplementedError as error:
            assert name in str(error) and not dtype.startswith("float"), error
            continue
        calls[name] = call
    assert len(calls) > (60 if dtype.startswith("float") else 10)
    flags = tuple(SANITIZED) if dtype == "int64" else ("-O2",)
    got = run(lambda: [f(*args, **kwargs) for f, args, kwargs in calls.values()], (), tmp_path, flags)
    for (name, (f, args, kwargs)), result in zip(calls.items(), got, strict=True):
        try:
            expect_close(result, f(*args, **kwargs), 2e-5 if result.dtype == np.float32 else 1e-9)
        except AssertionError as error:
            raise AssertionError(f"{name}: {result.ravel()[:8]}, expected {f(*args, **kwargs).reshape(-1)[:8]}") from error


def test_every_structured_op(tmp_path: Path) -> None:
    """A few samples of every op that has an emitter, in one program."""
    calls, refused = [], []
    for name in sorted({*csource_ops.EMITTERS}):
        info = registry[name]
        if writes(info) or name in ("_empty", "_empty_strided") or "float32" not in accepted_dtypes(info):
            continue
        usable = [s for s in samples(info, "float32") if s.specs()]
        for sample in usable[:: max(1, len(usable) // 5)]:
            args, kwargs, _ = tensors(info, sample)
            call = (name, info.function, args, kwargs)
            try:
                mg.export(lambda c=call: c[1](*c[2], **c[3]), path=tmp_path / "one.c", format="c")
            except (NotImplementedError, RuntimeError) as error:
                refused.append(f"{name}: {error}")
                continue
            calls.append(call)
    assert {name for name, *_ in calls} >= {"_attention", "_conv", "_layer_norm", "matmul", "sum", "cat", "_max_pool", "_batch_norm"}
    got = run(lambda: [as_tuple(f(*a, **k)) for _, f, a, k in calls], (), tmp_path, tuple(SANITIZED))
    at = 0
    for name, f, args, kwargs in calls:
        for k, want in enumerate(as_tuple(f(*args, **kwargs))):
            if not (name == "_attention" and k == 2):  # where its random numbers began: there are none
                try:
                    expect_close(got[at], want, 2e-5)
                except AssertionError as error:
                    raise AssertionError(f"{name} {args} {kwargs}: {got[at].ravel()[:8]}, expected {want}") from error
            at += 1


def test_views_and_in_place_ops(tmp_path: Path) -> None:
    def f(x: Any, i: Any) -> Any:
        y = x.t().clone()
        y[1:, ::2] += 3
        y.relu_()[0] = x[:, 0] * 2
        z = mg.where(y > 1, y, -y).expand(2, *y.shape)
        n = (i * 2 + 1).to(mg.float32) / 3
        return [z.permute(2, 0, 1), y.unfold(1, 2, 1), n, (i // 2) % 3, mg.full((2, 2), float("inf")), mg.arange(2, 9, 3)]

    args = (mg.randn(4, 3), mg.arange(-4, 4).reshape(2, 4))
    for got, want in zip(run(f, args, tmp_path, tuple(SANITIZED)), f(*args), strict=True):
        expect_close(got, want)


def test_running_statistics_stay(tmp_path: Path) -> None:
    """The state that a step writes is there in the next one: two steps in one program."""
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    x = mg.randn(5, 3)
    with mg.no_grad():
        got = run(lambda x: [model(x), model(x), model[1].running_mean * 1], (x,), tmp_path)
        for a, b in zip(got, [model(x), model(x), model[1].running_mean], strict=True):
            expect_close(a, b)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("name", ["mlp", "chargpt"])
def test_training_step(name: str, optimizer: str, tmp_path: Path) -> None:
    """Forward, loss, backward, clipping and optimizer as C: five steps give the library's losses."""
    mg.manual_seed(0)
    work = models.MODELS[name](mg, True)
    options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01} if optimizer == "SGD" else {"lr": 1e-2, "weight_decay": 0.1}
    work.optimizer = getattr(mg.optim, optimizer)(work.model.parameters(), **options)

    def step() -> Any:
        return models.step(mg, work).detach()

    mg.export(step, path=tmp_path / "model.c", format="c")
    main = '#include <stdio.h>\n#include "model.c"\nint main(void) { float loss; for (int k = 0; k < 5; k++) { '
    load = 'if (model_load("model.bin")) return 2; ' if "int model_load" in (tmp_path / "model.c").read_text() else ""
    main = main.replace("float loss;", f"float loss; {load}")
    (tmp_path / "five.c").write_text(main + 'if (model_step(&loss)) return 1; printf("%.9g\\n", loss); } return 0; }\n')
    built = subprocess.run([str(CC), *FLAGS[:-1], *SANITIZED, "five.c", "-lm", "-o", "five"], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:3000]
    done = subprocess.run(["./five"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    want = [step().item() for _ in range(5)]
    assert np.allclose([float(v) for v in done.stdout.split()], want, rtol=1e-4, atol=1e-6), (done.stdout.split(), want)


def test_wrong_index_ends_the_step(tmp_path: Path) -> None:
    table = mg.randn(4, 2)
    x = mg.tensor([1, 3])
    run(lambda i: F.embedding(i, table), (x,), tmp_path)
    mg.tensor([1, 4]).numpy().tofile(tmp_path / "in0")
    done = subprocess.run(["./model", "in0"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "out of range" in done.stderr


@pytest.mark.parametrize(("f", "what"), [(lambda x: mg.linalg.matrix_exp(x), "_matrix_exp"), (lambda x: F.dropout(x, 0.5), "_dropout"),
                                         (lambda x: mg.special.bessel_j0(x), "bessel_j0"), (lambda x: x.half() * 2, "float16"),
                                         (lambda x: mg.digamma(x), "digamma")])  # fmt: skip
def test_what_is_not_there_is_named(f: Callable, what: str, tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match=what):
        mg.export(f, (mg.randn(3, 3),), path=tmp_path / "model.c", format="c")
    assert not list(tmp_path.iterdir()) and csource_moves


def test_form_of_the_call(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown format"):
        mg.export(nn.Linear(2, 2), (mg.ones(1, 2),), format="onnx")
    with pytest.raises(ValueError, match="path"):
        mg.export(nn.Linear(2, 2), (mg.ones(1, 2),), format="c")
