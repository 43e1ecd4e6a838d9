"""internal in sequence, found by minigrad.testing.fuzz (seed 105, case 261071).

RuntimeError: bug in minigrad, please report it: bool(e) at csrc/autograd/opnode.cpp:85 shape of argument 'input' of select was not saved
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'sequence', False


def program(m, step):
    b = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (1,))).clone())
    d = step('getitem', lambda: b[()])
    e = step('requires_grad_', lambda: b.requires_grad_())
    f = step('select', lambda: d.select(0, 0))
    k = step('backward', lambda: f.backward())


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
