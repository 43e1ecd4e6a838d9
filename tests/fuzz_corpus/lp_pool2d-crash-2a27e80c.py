"""crash in lp_pool2d, found by minigrad.testing.fuzz (seed 102, case 68465).

csrc/cpu/pool.cpp:248:47: runtime error: signed integer overflow: -5843219465185787903 + -5843219465185787903 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'lp_pool2d', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([-3], 'int64'), (1, 2, 2))).clone())
    b = step('lp_pool2d', lambda: m.nn.functional.lp_pool2d(a, 65536, 2))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
