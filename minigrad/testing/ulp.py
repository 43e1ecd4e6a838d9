"""Error of the float32 functions in units in the last place, over all 2^32 inputs or an even sample of them.

    python -m minigrad.testing.ulp [NAME ...] [--step 1] [--markdown docs/accuracy_ulp.md]

Every function of one real tensor that is computed element by element is compared with its float64 reference (the registry's) on the bit
patterns 0, step, 2 step, …; step 1 is all of them and takes a minute for most functions. An ulp is the distance of neighbouring float32
numbers at the exact value, 2^-149 at least. A result that is NaN where the exact value is not, or the other way round, counts as infinitely
wrong; an infinity is right where the exact value rounds to it. `PROMISED` states the bounds; the exit status is 1 when one is exceeded.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import registry

CHUNK = 1 << 15  # what the second-level cache holds of the float64 arrays
DEFAULT = 2.0  # ulp, of every function that PROMISED does not name


def _elementary() -> dict[str, Callable[[Any], Any]]:
    """References that the registry's expression would compute with cancellation."""
    import numpy as np

    def tanhshrink(x: Any) -> Any:
        small = abs(x) < 0.05
        s = np.where(small, x, 0.0) ** 2
        series = np.where(small, x, 0.0) * s * (1 / 3 + s * (-2 / 15 + s * (17 / 315 + s * (-62 / 2835 + s * 1382 / 155925))))
        return np.where(small, series, x - np.tanh(x))

    def gelu_tanh(x: Any) -> Any:
        return x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def sinc(x: Any) -> Any:
        whole = np.rint(x)
        sign = np.where(np.rint(whole / 2) * 2 == whole, 1.0, -1.0)
        return np.where(x == 0, 1.0, sign * np.sin(np.pi * (x - whole)) / (np.pi * x))

    def hardswish(x: Any) -> Any:
        return x * (np.clip(x + 3, 0, 6) / 6)

    return {"tanhshrink": tanhshrink, "gelu_tanh": gelu_tanh, "sinc": sinc, "hardswish": hardswish}


# What is not held to 2 ulp, and why.
_ROUNDED = "without fused multiply-add products are rounded once more"
PROMISED: dict[str, tuple[float, str]] = (
    dict.fromkeys(("gelu_erf", "gelu_tanh", "silu"), (2.5, _ROUNDED)) if mg._core.cpu_isa() == "portable" else {}
)
# Oscillating functions of which the reference knows no more digits for large arguments than we do, and Ai beyond its range.
UNMEASURED = ("airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1")


def names() -> list[str]:
    """The functions of one real tensor without attributes that give a float."""
    found = []
    for name, info in registry.items():
        one = info.pointwise and len(info.args) == 1 and info.meta.startswith("unary") and info.meta != "unary_bool"
        if one and name not in ("conj_physical", "sgn", "angle", *UNMEASURED):
            found.append(name)
    return sorted(found)


def reference(name: str) -> Callable[[Any], Any]:
    """float64 array -> float64 array."""
    from minigrad.testing.calls import reference_function

    info = registry[name]
    return _elementary().get(name) or (reference_function(info) if info.ref is not None else info.expr)


def distance(got: Any, exact: Any) -> Any:
    """|got - exact| in units in the last place of float32 at the exact value; both are float64 arrays."""
    import numpy as np

    end = 2.0**128  # infinity stands for the number after the largest one
    exact_end = np.clip(exact, -end, end)
    exponent = exact_end.view(np.int64) & (0x7FF << 52)  # the bits of 2^floor(log2 |exact|)
    np.clip(exponent, (1023 - 126) << 52, (1023 + 127) << 52, out=exponent)
    exponent -= 23 << 52
    error = np.clip(got, -end, end)
    error -= exact_end
    error /= exponent.view(np.float64)
    np.abs(error, out=error)
    undefined = np.isnan(exact)
    error[undefined] = 0.0
    error[undefined != np.isnan(got)] = np.inf
    return error


def errors(name: str, bits: Any) -> tuple[Any, Any, Any, Any]:
    """(inputs, results, exact values, errors in ulp) on float32 bit patterns."""
    import numpy as np

    x = bits.astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):  # signalling NaNs among them
        got = registry[name].function(mg.from_numpy(x)).numpy().astype(np.float64)
        exact = np.ascontiguousarray(reference(name)(x.astype(np.float64)), dtype=np.float64)
        return x, got, exact, distance(got, exact)


def worst(name: str, step: int = 1, offset: int = 0) -> tuple[float, float, float, float]:
    """(largest error in ulp, input, result, exact value) over the bit patterns offset, offset + step, …"""
    import numpy as np

    result = (0.0, 0.0, 0.0, 0.0)
    for start in range(offset, 1 << 32, CHUNK * step):
        bits = np.arange(start, min(start + CHUNK * step, 1 << 32), step, dtype=np.uint64)
        x, got, exact, error = errors(name, bits)
        k = int(error.argmax())
        if error[k] > result[0]:
            result = (float(error[k]), float(x[k]), float(got[k]), float(exact[k]))
    return result


def promised(name: str) -> float:
    """The bound that `name` is held to."""
    return PROMISED.get(name, (DEFAULT, ""))[0]


HEAD = """# Largest errors of the float32 functions

Written by `python -m minigrad.testing.ulp [NAME ...] [--step STEP] --markdown docs/accuracy_ulp.md`, which replaces the rows of the
functions that it measures. An exhaustive row met every one of the 2^32 inputs, the others every STEP-th bit pattern.

| function | ulp | promised | at | inputs | why more than 2 |
|---|---|---|---|---|---|
"""


def write(path: str, rows: dict[str, str]) -> None:
    """Replace the rows of the page at `path`, or begin it."""
    try:
        with open(path) as f:
            kept = {line.split(" ")[1]: line.rstrip("\n") for line in f if line.startswith("| ") and not line.startswith("| function")}
    except FileNotFoundError:
        kept = {}
    with open(path, "w") as f:
        f.write(HEAD + "".join(row + "\n" for _, row in sorted({**kept, **rows}.items())))


def main() -> int:
    """Measure, print, optionally write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="functions; all of them by default")
    parser.add_argument("--step", type=int, default=1, help="every step-th bit pattern; 1 is the exhaustive test")
    parser.add_argument("--markdown", help="put the rows into the table of this file")
    args = parser.parse_args()
    failed = 0
    inputs = "all 2^32" if args.step == 1 else f"every {args.step}th"
    for name in args.names or names():
        begin = time.perf_counter()
        error, x, got, exact = worst(name, args.step)
        bad = error > promised(name)
        failed += bad
        at = f"{name}({x!r}) = {got!r}, exact {exact!r}"
        seconds = time.perf_counter() - begin
        print(f"{'!' if bad else ' '} {name:28}{error:8.2f} ulp  promised {promised(name):5g}  {at}  {seconds:.0f} s", flush=True)
        if args.markdown:
            why = PROMISED.get(name, (0, ""))[1]
            write(args.markdown, {name: f"| {name} | {error:.2f} | {promised(name):g} | {x!r} | {inputs} | {why} |"})
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
