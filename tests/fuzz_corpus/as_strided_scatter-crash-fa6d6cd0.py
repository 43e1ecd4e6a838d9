"""crash in as_strided_scatter, found by minigrad.testing.fuzz (seed 103, case 369637).

csrc/core/layout.cpp:146:3: runtime error: signed integer overflow: 9223372036854775807 + 1 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'as_strided_scatter', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), ())).clone())
    b = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (2,))).clone())
    c = step('as_strided_scatter', lambda: a.as_strided_scatter(b, (2,), (9223372036854775807,)))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
