"""crash in avg_pool2d, found by minigrad.testing.fuzz (seed 101, case 175919).

csrc/cpu/pool.cpp:248:47: runtime error: signed integer overflow: -9223372036854775807 + -9223372036854775807 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'avg_pool2d', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([-9223372036854775807], 'int64'), (1, 1, 2))).clone())
    b = step('avg_pool2d', lambda: m.nn.functional.avg_pool2d(a, 3, 1, 1))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
