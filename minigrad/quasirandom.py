"""SobolEngine: quasi-random points, drawn by SciPy's generator of the same sequence (extra: scipy)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

__all__ = ["SobolEngine"]


class SobolEngine:
    """Points of the Sobol sequence in [0, 1)^dimension.

    Args:
        dimension: 1 to 21201.
        scramble: Owen scrambling; its random part is not PyTorch's.
        seed: of the scrambling.
    Raises:
        ValueError: the dimension is out of range. ImportError: SciPy is not installed.
    """

    MAXBIT = 30
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if not 1 <= dimension <= self.MAXDIM:
            raise ValueError(f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]")
        self.dimension, self.scramble, self.seed, self.num_generated = dimension, scramble, seed, 0
        self._engine = self._new()

    def _new(self) -> Any:
        try:
            from scipy.stats import qmc
        except ImportError as error:
            raise ImportError("SobolEngine: the direction numbers come from SciPy. Try `pip install scipy`.") from error
        seed = int(mg.randint(2**31, (1,)).item()) if self.scramble and self.seed is None else self.seed
        return qmc.Sobol(self.dimension, scramble=self.scramble, bits=self.MAXBIT, seed=seed)

    def draw(self, n: int = 1, out: Any = None, dtype: Any = None) -> mg.Tensor:
        """The next n points, (n, dimension)."""
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns when n is no power of two
            points = self._engine.random(n)
        self.num_generated += n
        result = mg.from_numpy(points).to(dtype or mg.get_default_dtype())
        return result if out is None else out.resize_(result.shape).copy_(result)

    def draw_base2(self, m: int, out: Any = None, dtype: Any = None) -> mg.Tensor:
        """The next 2^m points.

        Raises:
            ValueError: the total number drawn would be no power of two.
        """
        n = 2**m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(
                f"The balance properties of Sobol' points require n to be a power of 2: {self.num_generated} were drawn, {n} are asked for"
            )
        return self.draw(n, out, dtype)

    def reset(self) -> SobolEngine:
        """Start again."""
        self._engine, self.num_generated = self._new(), 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Skip n points."""
        self._engine.fast_forward(n)
        self.num_generated += n
        return self

    def __repr__(self) -> str:
        text = (
            [f"dimension={self.dimension}"]
            + (["scramble=True"] if self.scramble else [])
            + ([f"seed={self.seed}"] if self.seed is not None else [])
        )
        return f"{type(self).__name__}({', '.join(text)})"
