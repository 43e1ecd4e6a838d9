"""Value and gradient checks that follow from a kernel's declaration (KernelOp): every case in every dtype against float64.

    TRITON_INTERPRET=1 python -m minigrad.kernels._checks [FILE [part of a case's name]]    # name or path; all files; on a GPU unset

What each check looks at: the results and gradients are at most twice as wrong (case.tolerance) as the naive form of the same
precision, plus one rounding; nothing outside of the buffers was read (NaN) or written (guard zones); inputs are as they were; torch was
not imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.kernels import _launch, _memory
from minigrad.kernels._harness import Case, KernelOp, Random, registered


def load(name: str) -> list[KernelOp]:
    """The kernels of a file, by its name in this package or its path."""
    here = pathlib.Path(__file__).resolve().parent
    path = pathlib.Path(name).resolve()
    if path.suffix == ".py" and path.parent != here:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return registered(path.stem)
    module = f"minigrad.kernels.{path.stem if path.suffix == '.py' else name}"
    importlib.import_module(module)
    return registered(module)


def _strides(spec: Random) -> tuple[tuple[int, ...] | None, int]:
    shape = list(spec.shape)
    order = list(range(len(shape)))
    if spec.layout == "transposed":
        order[-1], order[-2] = order[-2], order[-1]
    elif spec.layout not in ("contiguous", "padded", "offset"):
        raise ValueError(f"rand: layout is {spec.layout!r}, expected contiguous, transposed, padded or offset")
    strides, n = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = n
        n *= max(shape[axis], 1) + (3 if spec.layout == "padded" and axis == order[-1] else 0)
    return (None if spec.layout in ("contiguous", "offset") else tuple(strides)), int(spec.layout == "offset")


def _values(spec: Random, generator: np.random.Generator) -> np.ndarray:
    if spec.dtype is not None and not spec.dtype.startswith(("float", "bfloat")):
        return generator.integers(int(spec.low), int(spec.high), spec.shape)
    if spec.normal:
        return generator.standard_normal(spec.shape) * spec.scale
    return generator.uniform(spec.low, spec.high, spec.shape) * spec.scale


def make(value: Any, dtype: str, device: str, generator: np.random.Generator) -> Any:
    """An argument: `Random` becomes a tensor (on "meta": only its layout), lists element by element, the rest stays."""
    if isinstance(value, list):
        return [make(v, dtype, device, generator) for v in value]
    if not isinstance(value, Random):
        return value
    kind = getattr(mg, value.dtype or dtype)
    strides, skip = _strides(value)
    if device == "meta":
        x = mg.empty(value.shape, dtype=kind, device="meta")
        return x if strides is None else mg.empty_strided(value.shape, strides, dtype=kind, device="meta")
    x = _memory.place(value.shape, kind, device, strides, skip)
    x.copy_(mg.from_numpy(np.ascontiguousarray(_values(value, generator))).to(kind))
    return x


def _each(value: Any) -> list[Any]:
    return [v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, mg.Tensor)]


def map_tensors(value: Any, change: Any) -> Any:
    """`value` with change(t) for each tensor t in it."""
    if isinstance(value, (list, tuple)):
        return [map_tensors(v, change) for v in value]
    return change(value) if isinstance(value, mg.Tensor) else value


def _host(t: Any) -> np.ndarray:
    t = t.detach().cpu()
    return (t.double() if t.is_floating_point() else t).numpy()


@dataclasses.dataclass
class Check:
    """One case in one dtype on one device."""

    op: KernelOp
    case: Case
    dtype: str
    device: str

    @property
    def name(self) -> str:
        return f"{self.op.name}-{self.case}-{self.dtype}-{self.device}"

    def run(self) -> None:
        """Raises AssertionError with what is wrong."""
        generator = np.random.default_rng(zlib.crc32(f"{self.op.name}{self.case}{self.dtype}".encode()))
        with _memory.guarded():
            given = {k: make(v, self.dtype, self.device, generator) for k, v in self.case.args.items()}
            values = self.op.bind((), given)
            copies = {k: map_tensors(v, lambda t: t.detach().cpu().clone()) for k, v in values.items()}
            results = self.op.compute(values)
            _memory.verify()
            grads, found = [], {}
            if self.op.backward is not None and self.case.backward:
                grads = [self._cotangent(r, generator) for r in results[: self.op.visible]]
                found = self.op.gradients(grads, values, results)
        for name, before in copies.items():
            if name not in self.op.mutates:
                for a, b in zip(_each(values[name]), _each(before)):
                    np.testing.assert_array_equal(_host(a), _host(b), err_msg=f"the kernel changed its input {name}")
        self._compare(copies, results[: self.op.visible], grads, found)

    def _cotangent(self, result: Any, generator: np.random.Generator) -> Any:
        if not result.is_floating_point():
            return None
        spec = Random(tuple(result.shape), str(result.dtype).split(".")[-1], 0, 0, 1.0, "contiguous", True)
        return make(spec, self.dtype, self.device, generator)

    def _compare(self, inputs: dict[str, Any], results: tuple, grads: list, found: dict[str, Any]) -> None:
        wanted = [k for k, g in found.items() if g is not None]
        for k, g in found.items():
            for a, b in zip(_each(g), _each(inputs[k])):
                assert a.shape == b.shape, f"gradient of {k}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
        truth = self._reference(inputs, grads, wanted, mg.float64)
        naive = self._reference(inputs, grads, wanted, None)
        assert len(truth[0]) == len(results), f"the reference returned {len(truth[0])} results, the kernel {len(results)}"
        for k, (r, t, n) in enumerate(zip(results, truth[0], naive[0])):
            self._near(r, t, n, f"result {self.op.outputs[k]}")
        for name, t, n in zip(wanted, truth[1], naive[1]):
            for a, b, c in zip(_each(found[name]), _each(t), _each(n)):
                self._near(a, b, c, f"gradient of {name}")

    def _reference(self, inputs: dict[str, Any], grads: list, wanted: list[str], dtype: Any) -> tuple[list, list]:
        """(results, gradients of `wanted`) of the reference, in `dtype` or as the inputs are."""

        def prepare(t: Any) -> Any:
            if not t.is_floating_point():
                return t
            return (t.to(dtype) if dtype is not None else t.clone()).detach()

        values = {k: map_tensors(v, prepare) for k, v in inputs.items()}
        leaves = [t for k in wanted for t in _each(values[k])]
        for t in leaves:
            t.requires_grad_(True)
        results = self.op.reference(**values)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        if not wanted:
            return results, []
        pairs = [(r, g.cpu().to(r.dtype)) for r, g in zip(results, grads) if g is not None and r.requires_grad]
        flat = mg.autograd.grad([r for r, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
        flat = [mg.zeros_like(t) if g is None else g for g, t in zip(flat, leaves)]
        grouped, at = [], 0
        for k in wanted:
            count = len(_each(values[k]))
            grouped.append(flat[at : at + count])
            at += count
        return results, grouped

    def _near(self, got: Any, truth: Any, naive: Any, what: str) -> None:
        assert tuple(got.shape) == tuple(truth.shape), f"{what}: shape {tuple(got.shape)}, expected {tuple(truth.shape)}"
        a, t, n = _host(got), _host(truth), _host(naive)
        if a.size == 0:
            return
        if self.op.exact or not got.is_floating_point():
            np.testing.assert_array_equal(a, n if self.op.exact else t, err_msg=what)
            return
        with np.errstate(all="ignore"):
            finite = np.isfinite(t) & (np.abs(t) <= mg.finfo(got.dtype).max)
            same = (a == t) | (np.isnan(a) & np.isnan(t)) | (np.isinf(a) & (np.sign(a) == np.sign(t)))
            assert same[~finite].all(), f"{what}: {a[~finite & ~same][:4]}, expected {t[~finite & ~same][:4]}"
            scale = max(np.abs(t[finite]).max(initial=0.0), 1e-30)
            wrong = np.where(finite, np.abs(a - t), 0)
            bad_naive = np.where(finite & np.isfinite(n), np.abs(n - t), 0).max()
            allowed = self.case.tolerance * bad_naive + mg.finfo(got.dtype).eps * scale
            at = np.unravel_index(np.nanargmax(np.where(np.isnan(wrong), np.inf, wrong)), wrong.shape)
        assert wrong[at] <= allowed, (
            f"{what} at {tuple(int(i) for i in at)}: {a[at]!r}, expected {t[at]!r}: wrong by {wrong[at]:.3g}, the naive form by "
            f"{bad_naive:.3g} (allowed: {self.case.tolerance} x that + {mg.finfo(got.dtype).eps * scale:.3g})"
        )


def checks_of(op: KernelOp, devices: tuple[str, ...]) -> Iterator[Check]:
    """All checks of a kernel. Cases whose tensors all name their dtype run once."""
    for entry in op.cases:
        free = any(isinstance(v, Random) and v.dtype is None for a in entry.args.values() for v in (a if isinstance(a, list) else [a]))
        for k, dtype in enumerate(entry.dtypes if free else entry.dtypes[:1]):
            for device in devices:
                if k == 0 or device == devices[0]:  # on the simulated device, where the arithmetic is the same, once
                    yield Check(op, entry, dtype, device)


def devices_here() -> tuple[str, ...]:
    """Where kernels can run in this process: CPU and simulated device in the interpreter, else the GPU."""
    if _launch.interpreting():
        return ("cpu", "cuda") if mg.cuda.is_simulated() else ("cpu",)
    return ("cuda",) if mg.cuda.is_available() and not mg.cuda.is_simulated() else ()


def run_all(ops: list[KernelOp], part: str = "") -> int:
    """Runs and prints; the number of failures."""
    failed, devices = 0, devices_here()
    if not devices:
        print("no GPU here; TRITON_INTERPRET=1 checks the values on a CPU")
    for op in ops:
        chosen = [c for c in checks_of(op, devices) if part in c.name]
        started, bad = time.perf_counter(), 0
        for check in chosen:
            try:
                check.run()
            except Exception as error:
                bad += 1
                print(f"FAILED {check.name}: {type(error).__name__}: {error}")
        failed += bad
        print(f"{op.name}: {len(chosen) - bad} of {len(chosen)} checks passed, {time.perf_counter() - started:.1f} s")
    assert "torch" not in sys.modules, "a kernel imported torch"
    return failed


def run_file(ops: list[KernelOp]) -> None:
    """What `python kernels/<file>.py` does."""
    path = sys.modules["__main__"].__file__
    if devices_here() and not _launch.interpreting():
        failed = run_all(ops)
        if not failed:
            from minigrad.kernels._bench import report

            report(ops)
        raise SystemExit(bool(failed))
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    code = subprocess.run([sys.executable, "-m", "minigrad.kernels._checks", path], env=environment).returncode
    environment.pop("TRITON_INTERPRET")
    code |= subprocess.run([sys.executable, "-m", "minigrad.kernels._aot", path], env=environment).returncode
    print("no GPU here: no benchmark")
    raise SystemExit(code)


def main(arguments: list[str]) -> int:
    """The command; the number of failures."""
    if arguments:
        return run_all(load(arguments[0]), *arguments[1:2])
    from minigrad import kernels

    return run_all([op for name in kernels.names() for op in load(name)])


if __name__ == "__main__":
    raise SystemExit(bool(main(sys.argv[1:])))
