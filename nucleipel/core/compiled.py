"""Decorators that compile a function with numba: for calls from Python, or from compiled code.

Functions that call one another stand in one file: numba's cache of a function
does not notice that a function it calls, in another file, has changed.
"""

import numba

compiled = numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
"""Compiles a function that Python calls; the result is cached on disk, and runs without the GIL."""
compiled_inner = numba.njit(
    nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)
"""Compiles a function that only compiled code calls: without the wrapper for Python, which takes
long to compile."""
