"""`Compare`: measurements side by side."""

from __future__ import annotations

from collections.abc import Iterable

from minigrad.utils.benchmark.measurement import Measurement, select_unit, trim_sigfig, unit_to_english


class Compare:
    """A table of measurements: a block per label, a row per sub_label and thread count, a column per description.

    Args:
        results: measurements; those of one task are merged.
    """

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = self._colors = self._highlight = False

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Adds measurements.

        Raises:
            ValueError for anything else.
        """
        results = list(results)
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Shows only the digits that the spread allows."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Marks the best of each row with colour."""
        self._colors = True

    def highlight_warnings(self) -> None:
        """Marks measurements of large spread with (!)."""
        self._highlight = True

    def print(self) -> None:
        """Prints the table."""
        print(str(self))

    def _cell(self, m: Measurement | None, scale: float, best: bool) -> str:
        if m is None:
            return ""
        text = f"{trim_sigfig(m.median, m.significant_figures) / scale if self._trim else m.median / scale:.1f}"
        text += " (!)" if self._highlight and m.has_warnings else ""
        return f"\033[92m{text}\033[0m" if self._colors and best else text

    def __str__(self) -> str:
        blocks: dict[str, list[Measurement]] = {}
        for m in Measurement.merge(self._results):
            blocks.setdefault(m.label or m.stmt, []).append(m)
        return "\n".join(self._block(label, found) for label, found in blocks.items())

    def _block(self, label: str, found: list[Measurement]) -> str:
        unit, scale = select_unit(min(m.median for m in found))
        columns = list(dict.fromkeys(m.description or "" for m in found))
        names = list(dict.fromkeys((m.num_threads, m.env, m.as_row_name) for m in found))
        several = len({m.env for m in found}) > 1
        at = {(m.num_threads, m.env, m.as_row_name, m.description or ""): m for m in found}
        titles = [f"({env})  {name}" if several else name for _, env, name in names]
        cells = []
        for name in names:
            row = [at.get((*name, column)) for column in columns]
            least = min(m.median for m in row if m is not None)
            cells.append([self._cell(m, scale, m is not None and m.median == least and len(columns) > 1) for m in row])
        first = max(len(t) for t in titles) + 6
        widths = [max(len(c), *(len(row[k]) for row in cells)) + 2 for k, c in enumerate(columns)]
        header = " " * first + "|" + "|".join(c.center(w) for c, w in zip(columns, widths))
        lines = [f"[{'-' * 4} {label} {'-' * max(4, len(header) - len(label) - 8)}]", header]
        threads = None
        for (count, _, _), title, row in zip(names, titles, cells):
            if count != threads:
                lines.append(f"{count} threads: ".ljust(len(header), "-"))
                threads = count
            lines.append(("      " + title).ljust(first) + "|" + "|".join(c.center(w) for c, w in zip(row, widths)))
        return "\n".join([*lines, "", f"Times are in {unit_to_english(unit)}s ({unit}).", ""])
