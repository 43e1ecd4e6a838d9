"""Programs of several calls on shared memory: views of views, in-place writes, indexing, `out=`, detach, backward.

Shapes are followed with a NumPy stand-in of every tensor (one byte seen through strides), so that most calls are valid.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from minigrad.testing.fuzz import values as v
from minigrad.testing.fuzz.program import Call, Make, Program, Ref, Text, fresh_names

_UNARY = ("neg", "abs", "exp", "sin", "sigmoid", "relu", "square", "tanh", "clone", "detach", "floor", "contiguous", "cumsum")
_BINARY = ("add", "sub", "mul", "div", "maximum", "atan2", "pow", "copysign", "fmod", "remainder", "eq", "lt", "where")
_INPLACE_UNARY = ("neg_", "abs_", "exp_", "sin_", "sigmoid_", "relu_", "square_", "zero_", "tanh_", "floor_", "requires_grad_", "detach_")
_INPLACE_BINARY = ("add_", "sub_", "mul_", "div_", "copy_", "pow_", "fmod_", "remainder_", "lerp_", "addcmul_", "masked_fill_")


def _shadow(shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.int8(0), shape)


class _Sequence:
    def __init__(self, rng: random.Random, generator: Any) -> None:
        self.rng, self.generator = rng, generator
        self.steps: list[Make | Call] = []
        self.names = fresh_names()
        self.shadows: dict[str, np.ndarray] = {}
        self.grad = rng.random() < 0.6
        self.dtype = rng.choice(("float32", "float32", "float64", "float64", "int64", "bfloat16", "uint8", "bool", "complex64"))
        if self.dtype not in generator.dtypes:
            self.dtype = "float32"

    def run(self) -> Program:
        rng = self.rng
        for _ in range(rng.choice((1, 2, 2))):
            self.make()
        moves = (self.view, self.view, self.inplace, self.inplace, self.index_get, self.index_set, self.pure, self.with_out, self.wild)
        for _ in range(rng.randint(2, 9)):
            rng.choice(moves)()
        if self.grad:
            for _ in range(rng.choice((1, 1, 1, 2))):
                name = rng.choice(list(self.shadows))
                self.call(".backward", Ref(name), Text(f"m.ones_like({name})"), shadow=None)
        return Program(self.steps, op="sequence")

    # --- pieces ---
    def make(self) -> None:
        rng, name = self.rng, next(self.names)
        shape = rng.choice(((3, 4), (2, 3, 4), (5,), (1,), (), (2, 0, 3), (4, 1, 3), (6,), (2, 2), v.random_shape(rng)))
        floating = self.dtype in v.FLOATS + v.COMPLEX
        values = v.any_values(rng, self.dtype, 12) if rng.random() < 0.2 else v.plain_values(rng, self.dtype, 12)
        layout = rng.choice(("contiguous", "contiguous", "transposed", "step", "expanded", "offset"))
        self.steps.append(Make(name, self.dtype, shape, values, layout, self.grad and floating and rng.random() < 0.7))
        self.shadows[name] = _shadow(shape)
        if self.steps[-1].grad and rng.random() < 0.75:  # a non-leaf, which may be written in place
            self.call(".clone", Ref(name), shadow=_shadow(shape))

    def call(self, target: str, *args: Any, shadow: Any = None, **kwargs: Any) -> str:
        name = next(self.names)
        self.steps.append(Call(name, target, args, kwargs))
        if shadow is not None:
            self.shadows[name] = shadow
        return name

    def pick(self) -> tuple[Ref, np.ndarray]:
        names = list(self.shadows)
        name = names[-1] if self.rng.random() < 0.4 else self.rng.choice(names)
        return Ref(name), self.shadows[name]

    def dim(self, s: np.ndarray) -> int:
        """A dimension, now and then one out of range."""
        if s.ndim == 0 or self.rng.random() < 0.04:
            return v.odd_int(self.rng)
        return self.rng.randrange(-s.ndim, s.ndim)

    def view(self) -> None:
        x, s = self.pick()
        rng, d = self.rng, self.dim(s)
        valid = s.ndim > 0 and -s.ndim <= d < s.ndim
        size = s.shape[d] if valid else 1
        kind = rng.choice(("transpose", "select", "narrow", "unsqueeze", "squeeze", "expand", "reshape", "diagonal", "view_as", "unfold",
                           "split", "as_strided", "permute", "flatten", "unbind", "movedim", "detach"))  # fmt: skip
        if kind == "transpose":
            e = self.dim(s)
            ok = valid and -s.ndim <= e < s.ndim
            self.call(".transpose", x, d, e, shadow=np.swapaxes(s, d, e) if ok else None)
        elif kind == "select":
            k = rng.randrange(-size, size) if size and rng.random() < 0.9 else v.odd_int(rng)
            self.call(".select", x, d, k, shadow=np.take(s, k, d) if valid and -size <= k < size else None)
        elif kind == "narrow":
            start = rng.randint(0, size) if rng.random() < 0.9 else v.odd_int(rng)
            n = rng.randint(0, max(0, size - start)) if 0 <= start <= size and rng.random() < 0.9 else v.odd_int(rng)
            ok = valid and 0 <= start and 0 <= n and start + n <= size
            self.call(".narrow", x, d, start, n, shadow=np.take(s, range(start, start + n), d) if ok else None)
        elif kind == "unsqueeze":
            ok = -s.ndim - 1 <= d <= s.ndim
            self.call(".unsqueeze", x, d, shadow=np.expand_dims(s, d) if ok else None)
        elif kind == "squeeze":
            self.call(".squeeze", x, shadow=s.squeeze())
        elif kind == "expand":
            shape = tuple(n if n != 1 else rng.choice((1, 2, 3)) for n in s.shape)
            shape = (2, *shape) if rng.random() < 0.3 else shape
            self.call(".expand", x, shape, shadow=_shadow(shape))
        elif kind == "reshape":
            shape = rng.choice(((-1,), (s.size,), (1, s.size), (s.size, 1), tuple(reversed(s.shape)), (-1, 2), (3, -1)))
            self.call(rng.choice((".view", ".reshape")), x, shape, shadow=None)
        elif kind == "diagonal":
            self.call(".diagonal", x, rng.randint(-3, 3), shadow=None)
        elif kind == "unfold":
            self.call(".unfold", x, d, rng.randint(0, 3), rng.randint(0, 2), shadow=None)
        elif kind == "split":
            self.call(".split", x, rng.choice((1, 2, 3, 0, [1, size - 1])), d, shadow=None)
        elif kind == "as_strided":
            shape = tuple(rng.randint(0, 3) for _ in range(rng.randint(0, 3)))
            strides = tuple(rng.choice((0, 1, 1, 2, 3, 4, -1)) for _ in shape)
            if rng.random() < 0.1:
                strides = tuple(v.odd_int(rng) for _ in shape)
            self.call(".as_strided", x, shape, strides, rng.choice((0, 0, 1, 2, v.odd_int(rng))), shadow=_shadow(shape))
        elif kind == "permute":
            order = list(range(s.ndim))
            rng.shuffle(order)
            self.call(".permute", x, tuple(order), shadow=s.transpose(order))
        elif kind == "flatten":
            self.call(".flatten", x, shadow=_shadow((s.size,)))
        elif kind == "unbind":
            self.call(".unbind", x, d)
        elif kind == "movedim":
            self.call(".movedim", x, d, self.dim(s))
        elif kind == "detach":
            self.call(".detach", x, shadow=s)

    def partner(self, shape: tuple[int, ...]) -> Any:
        """A second operand: a number, a live tensor, or a new one that broadcasts to `shape`."""
        rng = self.rng
        if rng.random() < 0.4:
            return v.odd_scalar(rng) if rng.random() < 0.3 else rng.choice((2, 0.5, -1, True))
        if rng.random() < 0.5:
            fitting = [n for n, s in self.shadows.items() if s.shape == shape]
            return Ref(rng.choice(fitting or list(self.shadows)))
        small = tuple(n if rng.random() < 0.7 else 1 for n in shape[rng.randint(0, len(shape)) :])
        name = next(self.names)
        dtype = self.dtype if rng.random() < 0.8 else rng.choice(self.generator.dtypes)
        grad = self.grad and dtype in v.FLOATS and rng.random() < 0.3
        self.steps.append(Make(name, dtype, small, v.plain_values(rng, dtype, 7), rng.choice(("contiguous", "transposed", "step")), grad))
        self.shadows[name] = _shadow(small)
        return Ref(name)

    def inplace(self) -> None:
        (x, s), rng = self.pick(), self.rng
        if rng.random() < 0.4:
            self.call("." + rng.choice(_INPLACE_UNARY), x)
            return
        op = rng.choice(_INPLACE_BINARY)
        if op == "masked_fill_":
            self.call(".masked_fill_", x, Text(f"{x.name} > 0"), rng.choice((0, 1.5, 2)))
        elif op in ("lerp_", "addcmul_"):
            self.call("." + op, x, self.partner(s.shape), self.partner(s.shape))
        else:
            self.call("." + op, x, self.partner(s.shape))

    def pure(self) -> None:
        (x, s), rng = self.pick(), self.rng
        if rng.random() < 0.5:
            op = rng.choice(_UNARY)
            self.call("m." + op if op not in ("detach", "contiguous") else "." + op, x, *((0,) if op == "cumsum" else ()), shadow=s)
            return
        op, y = rng.choice(_BINARY), self.partner(s.shape)
        args = (Text(f"{x.name} > 0"), x, y) if op == "where" else (x, y)
        ok = not isinstance(y, Ref) or self.shadows[y.name].shape == s.shape
        self.call("m." + op, *args, shadow=s if ok else None)

    def with_out(self) -> None:
        """`out=` into a live tensor, which may be an operand or overlap one."""
        (x, s), (target, _), rng = self.pick(), self.pick(), self.rng
        if rng.random() < 0.5:
            self.call("m." + rng.choice(("exp", "neg", "sin", "cumsum", "abs")), x, *((0,) if rng.random() < 0.1 else ()), out=target)
        else:
            self.call("m." + rng.choice(("add", "mul", "sub", "matmul", "maximum", "cat")), x, self.partner(s.shape), out=target)

    def index(self, s: np.ndarray) -> Any:
        rng = self.rng
        parts: list[Any] = []
        for n in s.shape[: rng.randint(1, max(1, s.ndim))]:
            kind = rng.random()
            if kind < 0.3:
                parts.append(rng.randrange(-n, n) if n and rng.random() < 0.92 else v.odd_int(rng))
            elif kind < 0.65:
                edge = lambda: rng.choice((None, None, 0, 1, -1, 2, v.odd_int(rng)))
                parts.append(slice(edge(), edge(), rng.choice((None, None, 1, 2, 3, -1, 0, v.odd_int(rng)))))
            elif kind < 0.75:
                parts.append([rng.randrange(-n, n) if n and rng.random() < 0.95 else 9 for _ in range(rng.randint(0, 3))])
            elif kind < 0.82:
                shape = rng.choice(((2,), (1,), (2, 1), (), (0,)))
                parts.append(Text(f"m.zeros({shape}, dtype=m.int64)"))
            elif kind < 0.88:
                parts.append(Text(f"m.arange({n}) % 2 == 0"))
            else:
                parts.append(rng.choice((None, ..., True, False, slice(None))))
        if rng.random() < 0.03:
            return v.bad_argument(rng)
        return parts[0] if len(parts) == 1 and rng.random() < 0.5 else tuple(parts) if parts else ...

    def index_get(self) -> None:
        x, s = self.pick()
        index = self.index(s)
        try:
            shadow = s[index] if "m." not in repr(index) and "-" not in repr(getattr(index, "step", "")) else None
            shadow = shadow if isinstance(shadow, np.ndarray) else None
        except (IndexError, ValueError, TypeError, OverflowError):
            shadow = None
        self.call("getitem", x, index, shadow=shadow)

    def index_set(self) -> None:
        x, s = self.pick()
        value = self.rng.choice((0, 1.5, True)) if self.rng.random() < 0.5 else self.partner(s.shape[1:])
        self.call("setitem", x, self.index(s), value)

    def wild(self) -> None:
        """Any registered op on a live tensor."""
        (x, s), rng = self.pick(), self.rng
        from minigrad.testing.fuzz.generate import is_random, public_target

        info = rng.choice(self.generator.infos)
        target, private = public_target(info)
        if private or is_random(info) or not info.args:
            return
        args: list[Any] = [x]
        for a in info.args[1:]:
            if a.has_default or a.optional:
                break
            if a.kind in ("tensor", "operand"):
                args.append(self.partner(s.shape))
            elif a.kind in ("int", "ints"):
                args.append(self.dim(s) if rng.random() < 0.8 else v.odd_int(rng))
            else:
                args.append(v.odd_scalar(rng))
        self.call(target, *args)


def sequence(rng: random.Random, generator: Any) -> Program:
    """A program of a few calls on shared memory."""
    return _Sequence(rng, generator).run()
