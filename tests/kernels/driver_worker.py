"""Run by test_driver.py in a process of its own, without the interpreter, over the simulated device: kernels are compiled for its compute
capability, loaded and started through the C++ launcher, and what a GPU would be handed is compared with what was meant. Prints
{check: error}.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
import traceback
from typing import Any

import triton
import triton.language as tl

import minigrad as mg
from minigrad.cuda._door import backend
from minigrad.kernels import _autotune, _driver
from minigrad.kernels._launch import launch, target, tuned


@triton.jit
def probe(y_ptr, x_ptr, absent, factor, n, flag, one, big, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.store(y_ptr + at, x * factor + flag + one + big, mask=at < n)


@triton.jit(do_not_specialize=["n"])
def steady(y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, at.to(tl.float32), mask=at < n)


def device_tensor(n: int = 64, **options: Any) -> mg.Tensor:
    return mg.zeros(n, device="cuda", **options)


def numbers(launched: dict, formats: str) -> list:
    return [struct.unpack(f, p)[0] for f, p in zip(formats, launched["parameters"])]


def check_parameters_are_packed() -> None:
    x, y = device_tensor(), device_tensor()
    launch(probe, (3, 2), y, x, None, 0.5, 37, True, 1, 2**40, BLOCK=32, num_warps=2)
    got = backend.sim_last_launch()
    assert got["name"] == "probe" and got["grid"] == (3, 2, 1) and got["warps"] == 2
    assert numbers(got, "QQfi?qQQ") == [y.data_ptr(), x.data_ptr(), 0.5, 37, True, 2**40, 0, 0]  # `absent` and `one` are constants


def check_divisibility_makes_variants() -> None:
    x, y = device_tensor(), device_tensor()
    arguments = (None, 0.5, 48, False, 1, 3)
    family = lambda: next(f for k, (f, _) in _driver._families.items() if k[0] == id(probe) and 16 in k)
    launch(probe, (1,), y, x, *arguments, BLOCK=16)
    launch(probe, (1,), y, x, *arguments, BLOCK=16)
    assert len(family()) == 1
    launch(probe, (1,), y[1:], x, *arguments, BLOCK=16)  # a pointer that is no multiple of 16
    launch(probe, (1,), y, x, None, 0.5, 47, False, 1, 3, BLOCK=16)
    launch(probe, (1,), y, x.half(), *arguments, BLOCK=16)
    assert len(family()) == 4


def check_do_not_specialize() -> None:
    y = device_tensor()
    for n in (1, 16, 7):
        launch(steady, (1,), y, n, BLOCK=64)
        assert numbers(backend.sim_last_launch(), "QiQQ")[1] == n
    assert [len(f) for k, (f, _) in _driver._families.items() if k[0] == id(steady)] == [1]


def check_current_stream() -> None:
    stream = mg.cuda.Stream()
    with mg.cuda.stream(stream):
        launch(steady, (1,), device_tensor(), 5, BLOCK=64)
        assert backend.sim_last_launch()["stream"] == stream.cuda_stream != 0
    launch(steady, (1,), device_tensor(), 5, BLOCK=64)
    assert backend.sim_last_launch()["stream"] == 0


def check_wrong_arguments() -> None:
    y = device_tensor()
    for arguments, text in (
        ((mg.zeros(3), 5), "is on cpu"), ((y, "five"), "is a str"), ((y,), "is missing"), ((y, 5, 6), "too many"),
        ((5, 5), "no argument is a tensor"), ((y, 2**70), "int"),
    ):  # fmt: skip
        try:
            launch(steady, (1,), *arguments, BLOCK=64)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            assert text in str(error), (text, str(error))
        else:
            raise AssertionError(f"accepted {text}")
    launch(steady, (0,), y, 5, BLOCK=64)  # nothing to do
    try:
        launch(steady, (1, 70000), y, 5, BLOCK=64)
    except ValueError as error:
        assert "axis 1" in str(error)


def check_tritons_own_way() -> None:
    _driver.install()
    x, y = device_tensor(), device_tensor()
    probe[(2,)](y, x, None, 0.25, 40, True, 1, 2**35, BLOCK=32)
    got = backend.sim_last_launch()
    assert got["grid"] == (2, 1, 1)
    assert numbers(got, "QQfi?qQQ") == [y.data_ptr(), x.data_ptr(), 0.25, 40, True, 2**35, 0, 0]
    probe[lambda meta: (triton.cdiv(100, meta["BLOCK"]),)](y, x, None, 0.25, 40, True, 1, 2**35, BLOCK=32)
    assert backend.sim_last_launch()["grid"] == (4, 1, 1)


def check_target() -> None:
    properties = backend.device_properties(0)
    assert target().arch == properties["major"] * 10 + properties["minor"]
    assert target("cuda" and mg.device("cuda:0")).multiprocessors == properties["multi_processor_count"]


def check_autotune_cache() -> None:
    import os
    import pathlib

    calls: list = []

    def run(c: dict) -> None:
        calls.append(c["n"])
        if c["n"] == 3:
            raise RuntimeError("out of resources")

    candidates = [{"n": 1}, {"n": 2}, {"n": 3}]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINIGRAD_CACHE_DIR"] = folder
        measured = _autotune.measure
        _autotune.measure = lambda call, **_: (call(), {1: 2.0, 2: 1.0}[calls[-1]])[1]
        try:
            tuned(("probe", 64), candidates, run)
            assert calls == [1, 2, 3, 2]
            (file,) = (pathlib.Path(folder) / "kernels").iterdir()
            assert triton.__version__ in file.name and list(json.loads(file.read_text()).values()) == [{"n": 2}]
            _autotune._chosen.clear()  # another process
            calls.clear()
            tuned(("probe", 64), candidates, run)
            assert calls == [2]
            file.write_text("{half")
            _autotune._chosen.clear()
            tuned(("probe", 64), candidates, run)
            assert calls[-1] == 2
            os.environ["MINIGRAD_AUTOTUNE"] = "0"
            calls.clear()
            tuned(("probe", 128), candidates, run)
            assert calls == [1]
        finally:
            _autotune.measure = measured
            os.environ.pop("MINIGRAD_AUTOTUNE", None)
            os.environ.pop("MINIGRAD_CACHE_DIR")


def check_first_launch_in_a_capture() -> None:
    y = device_tensor()
    graph = mg.cuda.CUDAGraph()
    try:
        with mg.cuda.graph(graph):
            launch(steady, (1,), y, 3, BLOCK=32)
    except RuntimeError as error:
        assert "Run the step once before" in str(error), error
    else:
        raise AssertionError("code was loaded in a capture")
    launch(steady, (1,), y, 3, BLOCK=32)
    with mg.cuda.graph(mg.cuda.CUDAGraph()):
        y.add_(1.0)
        launch(steady, (1,), y, 3, BLOCK=32)


def check_binaries_from_elsewhere() -> None:
    from minigrad import kernels
    from minigrad.kernels._specialize import specialise

    x, y = device_tensor(), device_tensor()
    compiled = specialise(steady, (y, 5), {"BLOCK": 64}, {}).compile(90)
    for code in (compiled.asm["cubin"], compiled.asm["ptx"].encode()):
        binary = kernels.Binary(code, "steady", "p i p p", shared=60000)
        binary((3, 2), 4, y, 5, x, None)
        got = backend.sim_last_launch()
        assert got["grid"] == (3, 2, 1) and got["warps"] == 4 and got["shared"] == 60000
        assert numbers(got, "QiQQ") == [y.data_ptr(), 5, x.data_ptr(), 0]
    for arguments, text in (((y, 5, x), "got 3"), ((mg.zeros(2), 5, x, None), "expected CUDA tensors")):
        try:
            binary((1,), 1, *arguments)
        except (TypeError, RuntimeError) as error:
            assert text in str(error), error
        else:
            raise AssertionError(text)
    try:
        kernels.Binary(b"hello", "steady", "p")((1,), 1, y)
    except RuntimeError as error:
        assert "neither a cubin nor PTX" in str(error)


def check_scratch_of_tensor_descriptors() -> None:
    from minigrad.kernels.matmul_persistent import persistent_v2_tma

    if target().arch < 90:
        return
    a, b, y = (mg.zeros(128, 128, dtype=mg.bfloat16, device="cuda") for _ in range(3))
    flags = dict(PROGRAMS=2, A_TURNED=False, B_TURNED=False, BLOCK_M=64, BLOCK_N=64, BLOCK_K=64, GROUP=8, num_warps=4, num_stages=3)
    launch(persistent_v2_tma, (2,), a, b, y, 128, 128, 128, 128, 128, **flags)
    got = backend.sim_last_launch()
    *mine, scratch, profile = numbers(got, "QQQiiiiiQQ")
    assert mine == [a.data_ptr(), b.data_ptr(), y.data_ptr(), *[128] * 5] and profile == 0
    assert scratch and scratch % 128 == 0  # where each program writes its descriptors


def check_no_torch() -> None:
    assert "torch" not in sys.modules


def main() -> None:
    results = {}
    for name, function in list(globals().items()):
        if name.startswith("check_"):
            try:
                function()
                results[name] = ""
            except Exception:
                results[name] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
