"""crash in bincount, found by minigrad.testing.fuzz (seed 101, case 443885).

csrc/cpu/mask.cpp:146:33: runtime error: signed integer overflow: 9223372036854775807 + 1 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'bincount', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([9223372036854775807], 'int64'), (1,))).clone())
    b = step('bincount', lambda: m.bincount(a))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
