"""Batching rules of random ops, by vmap's randomness=: "error" raises, "same" draws once for all slices, "different" draws for each."""

from __future__ import annotations

from typing import Any

from minigrad.func._batch import Call, Same, full, invoke, pad_rank, reshape, rule, rules
from minigrad.op import functions


def _mode(c: Call) -> str:
    if c.level.randomness == "error":
        raise RuntimeError(
            f"vmap: called random operation {c.name.strip('_')} while in randomness error mode. Please either use the 'same' or "
            "'different' randomness flags on vmap or perform the randomness operation out of vmap."
        )
    return c.level.randomness


def _filler(c: Call) -> Any:
    """uniform_, normal_ …: overwrite the target."""
    mode, target = _mode(c), c.args[0]
    batched = c.flags[0]
    if not batched:
        if mode == "different" or any(f is True for f in c.flags):
            raise RuntimeError(
                f"vmap: cannot ask for different in-place randomness ({c.name}) on a tensor that is the same for all slices. "
                "Try making it inside of vmap (mg.empty, x.new_empty), or mg.rand/mg.randn."
            )
        return invoke(c.name, list(c.args), True)
    rank = target.dim() - 1
    args = [pad_rank(a, rank) if f and k else a for k, (a, f) in enumerate(zip(c.args, c.flags))]
    if mode == "different":
        return invoke(c.name, args, True)
    if any(f is True for f in c.flags[1:]):
        raise RuntimeError(f"vmap: {c.name} with randomness='same' needs the same parameters for all slices")
    drawn = functions["_empty"](tuple(target.shape[1:]), target.dtype, target.device)
    return target.copy_(invoke(c.name, [drawn, *c.args[1:]], True))


for _name in ("uniform_", "normal_", "log_normal_", "bernoulli_", "_randint_", "exponential_", "geometric_", "cauchy_"):
    rules[_name] = _filler


@rule("_empty")
def _empty(c: Call) -> Any:
    """Only seen with randomness="different": what mg.rand and friends fill."""
    size, dtype, device = c.args
    return functions["_empty"]((c.size, *size), dtype, device)


def _draw_from(c: Call) -> Any:
    """_bernoulli, poisson: one draw per element of the input."""
    if _mode(c) == "different":
        return invoke(c.name, [c.full(0).contiguous(), *c.args[1:]])
    if c.flags[0]:
        raise RuntimeError(f"vmap: {c.name.strip('_')}: randomness='same' is not possible for a batched input. Try randomness='different'.")
    return Same(invoke(c.name, list(c.args)))


for _name in ("_bernoulli", "poisson", "_standard_gamma", "_sample_dirichlet", "_standard_von_mises"):
    rules[_name] = _draw_from


def _draw_from_two(c: Call) -> Any:
    """_normal_of, binomial: one draw per element of the broadcast parameters."""
    if _mode(c) == "different":
        rank = max(c.args[k].dim() - bool(c.flags[k]) for k in (0, 1))
        return invoke(c.name, [*(pad_rank(c.full(k), rank) for k in (0, 1)), *c.args[2:]])
    if c.flags[0] or c.flags[1]:
        raise RuntimeError(f"vmap: {c.name.strip('_')}: randomness='same' is not possible for batched parameters. "
                           "Try randomness='different'.")  # fmt: skip
    return Same(invoke(c.name, list(c.args)))


rules["_normal_of"] = rules["binomial"] = _draw_from_two


@rule("_dropout")
def _dropout(c: Call) -> Any:
    x, p, generator = c.args
    if _mode(c) == "different":
        return invoke(c.name, [c.full(0).contiguous(), p, generator])
    if not c.flags[0]:
        return Same(*invoke(c.name, list(c.args)))
    ones = functions["_full"](tuple(x.shape[1:]), 1, x.dtype, x.device)
    kept, mask = invoke(c.name, [ones, p, generator])
    return x * kept, full(mask, False, c.size)


@rule("_randperm")
def _randperm(c: Call) -> Any:
    if _mode(c) == "same":
        return Same(invoke(c.name, list(c.args)))
    return functions["stack"]([invoke(c.name, list(c.args)) for _ in range(c.size)])


@rule("multinomial")
def _multinomial(c: Call) -> Any:
    if _mode(c) == "same":
        if c.flags[0]:
            raise RuntimeError("vmap: multinomial: randomness='same' is not possible for a batched input. Try randomness='different'.")
        return Same(invoke(c.name, list(c.args)))
    x = c.full(0)
    rows = x.reshape((-1, x.shape[-1])) if x.dim() == 3 else x
    return reshape(invoke(c.name, [rows.contiguous(), *c.args[1:]]), c.out(0))
