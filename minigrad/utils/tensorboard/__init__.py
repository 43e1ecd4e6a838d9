"""SummaryWriter: event files that TensorBoard reads, written without TensorFlow or the tensorboard package."""

from __future__ import annotations

from .record import EventWriter, read_records
from .writer import FileWriter, SummaryWriter

__all__ = ["EventWriter", "FileWriter", "SummaryWriter", "read_records"]
