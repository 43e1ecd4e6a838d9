"""Random tensors. Poisson, gamma and other distributions drawn by rejection: random_sample.py. Kernels: csrc/cpu/random.cpp; the numbers themselves: csrc/core/philox.h.

Element i of a result depends on the generator's seed, its position and i alone: the same on every run, thread count and
device.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.creation.create import _TYPES, _dtype_of, _empty, _finish, _size
from minigrad.ops.creation.create_like import _like_strides
from minigrad.ops.shared.struct_doc import card, shared_args

_WHY = dict(no_ref_reason="random", no_samples_reason="random; see tests of the distributions",
            no_torch_reason="other random numbers")
_GENERATOR = "random generator; None takes the default one."


def _inplace(schema: str, meta: str, summary: str, example: str, **args: str) -> None:
    op(schema, meta=meta, namespace=None, method=True, dinput=lambda g: None, **_WHY,
       doc=card(summary, example, input="overwritten.", **args, generator=_GENERATOR, returns="input.",
                raises="RuntimeError for parameters outside their range, or a dtype that does not fit.", grad="Zero."))


_inplace("uniform_(input!, from: float = 0.0, to: float = 1.0, *, generator: generator? = None) -> out", "uniform",
         "Fills with numbers drawn evenly from [from, to).", "mg.empty(2).uniform_(1, 2).shape -> minigrad.Size([2])")
_inplace("normal_(input!, mean: float = 0.0, std: float = 1.0, *, generator: generator? = None) -> out", "normal",
         "Fills with normally distributed numbers (Box-Muller).", "mg.empty(2).normal_().shape -> minigrad.Size([2])",
         mean="mean.",
         std="standard deviation, not negative.")
_inplace("log_normal_(input!, mean: float = 1.0, std: float = 2.0, *, generator: generator? = None) -> out", "normal",
         "Fills with exp of normally distributed numbers.", "mg.empty(2).log_normal_().shape -> minigrad.Size([2])",
         mean="mean of the logarithm.",
         std="standard deviation of the logarithm.")
_inplace("exponential_(input!, lambd: float = 1.0, *, generator: generator? = None) -> out", "exponential",
         "Fills with exponentially distributed numbers, always above 0.",
         "mg.empty(2).exponential_().shape -> minigrad.Size([2])", lambd="rate, above 0.")
_inplace("cauchy_(input!, median: float = 0.0, sigma: float = 1.0, *, generator: generator? = None) -> out", "cauchy",
         "Fills with Cauchy distributed numbers.", "mg.empty(2).cauchy_().shape -> minigrad.Size([2])",
         median="median.", sigma="half width, above 0.")
_inplace("geometric_(input!, p: float, *, generator: generator? = None) -> out", "geometric",
         "Fills with the number of tries up to the first success.",
         "mg.empty(2).geometric_(0.5).shape -> minigrad.Size([2])", p="chance of success, in (0, 1).")
_inplace("bernoulli_(input!, p: operand = 0.5, *, generator: generator? = None) -> out", "bernoulli_",
         "Fills with 1 (chance p) and 0.", "mg.empty(2).bernoulli_(1.0) -> tensor([1., 1.])",
         p="chance, in [0, 1]; a number, or a tensor that broadcasts.")
_inplace("_randint_(input!, low: int, high: int, *, generator: generator? = None) -> out", "randint",
         "Fills with integers of [low, high).", "mg.empty(2, dtype=mg.int64).random_(1) -> tensor([0, 0])",
         low="least.", high="bound, excluded.")

op("_normal_of(mean, std, *, generator: generator? = None) -> out", meta="normal_of", namespace=None,
   dmean=lambda g, mean_shape: g.new_zeros(mean_shape),
   dstd=lambda g, std_shape: g.new_zeros(std_shape), **_WHY, doc="Kernel of normal with a tensor.")
_bernoulli = op("_bernoulli(input, *, generator: generator? = None) -> out", meta="random_of", namespace=None,
                dinput=lambda g, input_shape: g.new_zeros(input_shape), **_WHY, doc="Kernel of bernoulli.")
_randperm = op("_randperm(n: int, dtype: dtype? = None, device: device? = None, generator: generator? = None) -> out",
               meta="randperm",
               namespace=None, no_grad_reason="integers", **_WHY, doc="Kernel of randperm.")
_masked_scale = op("_masked_scale(g, mask, scale: float) -> out", meta="masked_scale", namespace=None,
                   dg=lambda g, mask, scale: _masked_scale(g, mask, scale), ref=lambda g, mask, scale: g * mask * scale,
                   samples=lambda s: [s(s.t(2, 3), s.mask(2, 3), 2.0),
                                      s(s.t(3, 2, layout="transposed"), s.mask(3, 2), 0.5), s(s.t(0), s.mask(0), 1.0)],
                   doc="g * scale where mask, else 0: the gradient of dropout.")
_dropout = op("_dropout(input, p: float, *, generator: generator? = None) -> out, mask", meta="dropout", namespace=None,
              nondiff=("mask",),
              dinput=lambda g, mask, p: _masked_scale(g, mask, 1 / (1 - p) if p < 1 else 0.0), grad_name="Dropout",
              **_WHY,
              doc="Kernel of dropout: keeps with chance 1 - p and scales by 1 / (1 - p); the mask takes one byte per "
              "element.")


# --- functions --------------------------------------------------------------------------------------------------------
_COMMON = dict(out="tensor to write into.", dtype="floating dtype; None takes the default one.",
               device="where the data lives.",
               requires_grad="True makes a leaf.", generator=_GENERATOR,
               others="layout, pin_memory: accepted, change nothing.")  # fmt: skip


def _drawn(draw: str, parameters: tuple, args: tuple, size: Any, generator: Any, out: Any, dtype: Any, device: Any,
           requires_grad: bool) -> mg.Tensor:
    dtype = _dtype_of(dtype, out)
    made = functions[draw](_empty(_size(args, size), dtype, device), *parameters, generator=generator)
    return made if out is None and not requires_grad else _finish(made, out, requires_grad)


@composite(method=False, **_WHY)
@shared_args(**_COMMON)
def rand(*args: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
         device: Any = None,
         requires_grad: bool = False, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """Numbers drawn evenly from [0, 1).

    Args:
        size: sizes, as numbers or one sequence.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError for an integer dtype.
    Example:
        >>> mg.rand(2).shape
        minigrad.Size([2])
    """
    return _drawn("uniform_", (), args, size, generator, out, dtype, device, requires_grad)


@composite(method=False, **_WHY)
@shared_args(**_COMMON)
def randn(*args: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
          device: Any = None,
          requires_grad: bool = False, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """Numbers drawn from the standard normal distribution.

    Args:
        size: sizes, as numbers or one sequence.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError for an integer dtype.
    Example:
        >>> mg.randn(2).shape
        minigrad.Size([2])
    """
    return _drawn("normal_", (), args, size, generator, out, dtype, device, requires_grad)


@composite(method=False, **_WHY)
@shared_args(**_COMMON)
def randint(*args: Any, low: int = 0, high: int | None = None, size: Any = None, generator: Any = None, out: Any = None,
            dtype: Any = None,
            layout: Any = None, device: Any = None, requires_grad: bool = False,
            pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """Integers drawn evenly from [low, high).

    Args:
        low: least value, default 0.
        high: bound, excluded.
        size: sizes.
    Returns:
        a tensor of that shape, int64 unless a dtype is given.
    Raises:
        RuntimeError when low >= high.
    Example:
        >>> mg.randint(5, 6, (2,))
        tensor([5, 5])
    """
    numbers = [a for a in args if isinstance(a, int)]
    size = next((a for a in args if not isinstance(a, int)), size)
    if len(numbers) + (high is not None) > 2 or size is None:
        raise TypeError("randint: expected randint(high, size) or randint(low, high, size)")
    if high is not None:
        low = numbers[0] if numbers else low
    elif numbers:
        low, high = (numbers[0], numbers[1]) if len(numbers) == 2 else (low, numbers[0])
    else:
        raise TypeError("randint: expected randint(high, size) or randint(low, high, size)")
    return _drawn("_randint_", (low, high), (), size, generator, out, dtype or (mg.int64 if out is None else None),
                  device, requires_grad)


@composite(method=False, **_WHY)
@shared_args(**_COMMON)
def randperm(n: int, *, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None,
             requires_grad: bool = False, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """A random order of 0 … n - 1.

    Args:
        n: how many.
    Returns:
        a 1-d int64 tensor.
    Raises:
        RuntimeError for negative n.
    Example:
        >>> mg.randperm(3).sort().values
        tensor([0, 1, 2])
    """
    return _finish(_randperm(n, _TYPES.get(dtype, dtype), device, generator), out, requires_grad)


def _like(input: mg.Tensor, dtype: Any, device: Any, memory_format: Any) -> mg.Tensor:
    made = _empty(input.shape, _TYPES.get(dtype, dtype) or input.dtype, device or input.device)
    return _like_strides(input, made, memory_format)


_LIKE = dict(input="gives shape, dtype and device.", dtype="another dtype.", device="another device.",
             requires_grad="True makes a leaf.", generator=_GENERATOR)  # fmt: skip


@composite(method=False, **_WHY)
@shared_args(**_LIKE)
def rand_like(input: mg.Tensor, *, generator: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False,
              pin_memory: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """`rand` of another tensor's shape and dtype.

    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.rand_like(mg.zeros(2)).shape
        minigrad.Size([2])
    """
    return _finish(functions["uniform_"](_like(input, dtype, device, memory_format), generator=generator), None,
                   requires_grad)


@composite(method=False, **_WHY)
@shared_args(**_LIKE)
def randn_like(input: mg.Tensor, *, generator: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False,
               pin_memory: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """`randn` of another tensor's shape and dtype.

    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.randn_like(mg.zeros(2)).shape
        minigrad.Size([2])
    """
    return _finish(functions["normal_"](_like(input, dtype, device, memory_format), generator=generator), None,
                   requires_grad)


@composite(method=False, **_WHY)
@shared_args(**_LIKE)
def randint_like(input: mg.Tensor, low: int = 0, high: int | None = None, *, generator: Any = None, dtype: Any = None,
                 layout: Any = None,
                 device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
                 memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """`randint` of another tensor's shape and dtype.

    Args:
        low: least value.
        high: bound, excluded.
    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.randint_like(mg.tensor([7, 8]), 1)
        tensor([0, 0])
    """
    if high is None:
        low, high = 0, low
    return _finish(functions["_randint_"](_like(input, dtype, device, memory_format), low, high, generator=generator),
                   None, requires_grad)


@composite(method=False, **_WHY)
def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Any = None,
           dtype: Any = None,
           layout: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """Normally distributed numbers with a mean and standard deviation each, or common ones and a size.

    Args:
        mean: tensor or number.
        std: tensor or number, not negative.
        size: sizes; only with two numbers.
        generator: random generator; None takes the default one.
        out: tensor to write into.
        dtype, device, requires_grad: as for randn; with a size only.
    Returns:
        a tensor of the broadcast shape, or of `size`.
    Raises:
        RuntimeError for a negative std.
    Gradient:
        zero for mean and std; use mean + std * randn for another.
    Example:
        >>> mg.normal(mg.tensor([1., 2.]), 0.0)
        tensor([1., 2.])
    """
    if size is not None:
        return _drawn("normal_", (float(mean), float(std)), (), size, generator, out, dtype, device, requires_grad)
    if not isinstance(mean, mg.Tensor) and not isinstance(std, mg.Tensor):
        raise TypeError("normal: expected a size when mean and std are both numbers")
    first = mean if isinstance(mean, mg.Tensor) else std  # a number takes the dtype of the tensor
    pair = (t if isinstance(t, mg.Tensor) else mg.tensor(t, dtype=first.dtype, device=first.device) for t in (mean, std))
    return _finish(functions["_normal_of"](*pair, generator=generator), out, False)


@composite(**_WHY)
def bernoulli(input: mg.Tensor, p: float | None = None, *, generator: Any = None,
              out: mg.Tensor | None = None) -> mg.Tensor:
    """1 with a chance given by the input (or by p), else 0.

    Args:
        input: chances in [0, 1], floating; with p only shape and dtype count.
        p: one chance for all.
        generator: random generator; None takes the default one.
        out: tensor to write into.
    Returns:
        a tensor of the same shape and dtype.
    Raises:
        RuntimeError for chances outside [0, 1].
    Gradient:
        0.
    Example:
        >>> mg.bernoulli(mg.tensor([1., 0.]))
        tensor([1., 0.])
    """
    if p is None:
        made = _bernoulli(input, generator=generator)
    else:
        made = functions["bernoulli_"](_empty(input.shape, input.dtype, input.device), p, generator=generator)
    return made if out is None else _finish(made.to(out.dtype), out, False)  # 0 and 1 fit into every dtype


@composite(namespace=(), method=True, **_WHY)
def random_(input: mg.Tensor, *bounds: int, generator: Any = None, **named: int) -> mg.Tensor:
    """Fills with integers: random_() over all that the dtype holds exactly, random_(to), random_(from, to).

    Args:
        input: overwritten.
        bounds: `to`, or `from` and `to` (excluded).
        generator: random generator; None takes the default one.
        named: `to=` and `from=`.
    Returns:
        input.
    Raises:
        RuntimeError when from >= to.
    Gradient:
        0.
    Example:
        >>> mg.empty(2, dtype=mg.int64).random_(3, 4)
        tensor([3, 3])
    """
    low, high = named.get("from", 0), named.get("to")
    if len(bounds) == 1:
        high = bounds[0] if high is None else high
        low = low if "to" not in named else bounds[0]
    elif bounds:
        low, high = bounds
    if high is None:
        exact = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8, "int64": 63, "int32": 31, "int16": 15,
                 "int8": 7, "uint8": 8, "bool": 1}
        name = str(input.dtype).split(".")[-1]
        high = min(2 ** exact[name] + (1 if input.is_floating_point() else 0), 2**63 - 1)
    return functions["_randint_"](input, low, high, generator=generator)


@composite("nn.functional", method=False, **_WHY)
def dropout(input: mg.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> mg.Tensor:
    """Sets each element to 0 with chance p and scales the others by 1 / (1 - p), in training only.

    Args:
        input: any floating tensor.
        p: chance of dropping, in [0, 1].
        training: False returns the input as it is.
        inplace: overwrite the input.
    Returns:
        a tensor of the same shape.
    Raises:
        ValueError for p outside [0, 1].
    Gradient:
        the same mask and scale.
    Source:
        Srivastava et al., JMLR 15, 2014.
    Example:
        >>> mg.nn.functional.dropout(mg.ones(2), 0.5, training=False)
        tensor([1., 1.])
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    if inplace:
        _, mask = _dropout(functions["_full"](input.shape, 1, input.dtype, input.device), p)
        return input.mul_(mask).mul_(1 / (1 - p) if p < 1 else 0.0)
    return _dropout(input, p)[0]
