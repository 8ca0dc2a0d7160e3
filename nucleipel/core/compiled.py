"""Decorators that compile a function with numba: for calls from Python, or from compiled code.

Functions that call one another stand in one file: numba's cache of a function
does not notice that a function it calls, in another file, has changed.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba

from nucleipel.core.kernel_cache import KernelCache, cache_folder

_compile = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; it runs without the GIL, and is cached on disk."""
    kernel = _compile(function)
    folder = cache_folder()
    if folder is not None:
        with suppress(RuntimeError):  # the folder was removed since
            kernel._cache = KernelCache(function, folder)
    return kernel


compiled_inner = numba.njit(
    nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)
"""Compiles a function that only compiled code calls: without the wrapper for Python, which takes
long to compile."""
