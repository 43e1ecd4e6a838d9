"""crash in repeat_interleave, found by minigrad.testing.fuzz (seed 101, case 11595).

csrc/core/tensor.cpp:106:11: runtime error: signed integer overflow: 4 * 2305843009213693952 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'repeat_interleave', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1], 'int64'), (2, 2))).clone())
    b = step('repeat_interleave', lambda: a.repeat_interleave(2305843009213693952))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
