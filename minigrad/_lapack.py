"""Where LAPACK comes from: the shared library inside the scipy-openblas32 wheel, opened at the first linalg call."""

from __future__ import annotations

from pathlib import Path


def library_path() -> str:
    """Path of the wheel's shared library.

    Raises:
        ImportError when the wheel is not installed or holds no library.
    """
    try:
        import scipy_openblas32
    except ImportError as error:
        raise ImportError(
            "linalg: LAPACK is missing: the package scipy-openblas32 cannot be imported. Try `pip install scipy-openblas32`."
        ) from error
    folder = Path(scipy_openblas32.get_lib_dir())
    found = sorted(p for p in folder.glob("*openblas*") if p.suffix in (".so", ".dylib", ".dll"))
    if not found:
        raise ImportError(
            f"linalg: no LAPACK library in {folder}. Try `pip install --force-reinstall scipy-openblas32`."
        )
    return str(found[0])


def load() -> None:
    """Open the library; the C++ side calls this once (csrc/python/bind_linalg.cpp)."""
    from minigrad import _core

    _core.open_lapack(library_path())
