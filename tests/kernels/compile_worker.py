"""Run by test_compile_cuda.py in a process of its own, without the interpreter, over the simulated device: generated kernels are compiled
for its compute capability, loaded and started from C++, and what a GPU would be handed is compared with what was meant. Prints
{check: error}.
"""

from __future__ import annotations

import json
import struct
import traceback
import weakref

import minigrad as mg
from minigrad import kernels
from minigrad.compiler.codegen import on_cuda, triton_runner
from minigrad.cuda._door import backend

kernels.available = lambda: True  # the simulator does not run them
on_cuda.install()


def words(launched: dict) -> list[int]:
    return [struct.unpack("Q" if len(p) == 8 else "i", p)[0] for p in launched["parameters"]]


def check_parameters_are_packed() -> None:
    x, w = mg.ones(300, 70, device="cuda"), mg.ones(70, device="cuda")
    compiled = mg.compile(lambda x, w: (x * w).relu())
    for _ in range(2):
        y = compiled(x, w)
        got = backend.sim_last_launch()
        assert got["name"] == "fused_mul_relu", got["name"]
        assert words(got) == [x.data_ptr(), w.data_ptr(), y.data_ptr(), 300, 70, 70, 70, 0, 0], words(got)
        assert got["grid"][0] >= 300 * 70 // 4096


def check_a_later_run_needs_no_python() -> None:
    x = mg.ones(1 << 14, device="cuda")
    compiled = mg.compile(lambda x: (x * 3).exp())
    compiled(x)
    asked = []
    prepared = triton_runner.Runner.prepared
    triton_runner.Runner.prepared = lambda self, addresses: asked.append(1) or prepared(self, addresses)
    try:
        compiled(x)
        assert asked == []
        compiled(mg.ones((1 << 14) + 1, device="cuda")[1:])  # lies differently: a variant of its own
        assert asked == [1]
    finally:
        triton_runner.Runner.prepared = prepared


def check_tiles_are_measured_on_buffers_of_their_own() -> None:
    from minigrad.kernels import _autotune

    x = mg.ones(1 << 15, device="cuda")
    kept, best, written = [], _autotune.best, []

    def all_of_them(key, candidates, run):
        assert key[0] == "fused" and len(candidates) > 1
        for c in candidates:
            run(c)
            written.append(words(backend.sim_last_launch())[1])
        return candidates[1]

    make = on_cuda._make
    _autotune.best = all_of_them
    try:
        backend.set_fused_maker(lambda kernel: kept.append(make(kernel)) or kept[-1])
        y = mg.compile(lambda x: (x * 5).sigmoid())(x)
        assert kept[0].fastest([x.data_ptr(), y.data_ptr()]) == kept[0].tiles.candidates[1]
        assert len(written) > 1 and y.data_ptr() not in written
    finally:
        _autotune.best = best
        on_cuda.install()


def check_partial_sums_have_memory() -> None:
    x = mg.ones(3000, 40, device="cuda")
    before = mg.cuda.memory_allocated()
    y = mg.compile(lambda x: (x * 2).sum(0))(x)
    got = backend.sim_last_launch()
    assert got["name"] == "sum_of_chunks" and words(got)[0] == y.data_ptr(), got["name"]
    assert mg.cuda.memory_allocated() - before <= 512  # the result


def check_kernels_end_with_their_function() -> None:
    compiled = mg.compile(lambda x: (x * 7).exp())
    compiled(mg.ones(100, device="cuda"))
    gone = weakref.ref(compiled)
    del compiled
    import gc

    gc.collect()
    assert gone() is None


def check_a_group_in_a_graph() -> None:
    compiled = mg.compile(lambda x: (x * 2).tanh() + 1, mode="reduce-overhead")
    x = mg.ones(100, device="cuda")
    for _ in range(4):
        compiled(x)
    assert "a CUDA graph" in compiled.entries[0].verdict, compiled.entries[0].verdict


def main() -> None:
    results = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                results[name] = ""
            except Exception:
                results[name] = traceback.format_exc()
    print(json.dumps(results))


main()
