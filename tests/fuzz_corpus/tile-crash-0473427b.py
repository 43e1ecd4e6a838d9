"""crash in tile, found by minigrad.testing.fuzz (seed 101, case 73883).

csrc/core/tensor.cpp:106:11: runtime error: signed integer overflow: 2 * 4611686018427387904 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'tile', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (2,))).clone())
    b = step('tile', lambda: a.tile((2, 2305843009213693952)))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
