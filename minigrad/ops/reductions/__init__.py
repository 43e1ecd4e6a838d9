"""Ops that condense or order an axis: sums, statistics, scans, sorting, histograms, segments."""

from . import combine, difference, histogram, masked, masked_spread, moment, reduce, scan, search, segment, sort, statistics, unique  # noqa: F401  each declares its ops
