"""Utilities under torch's import path (`minigrad.utils.data`)."""
