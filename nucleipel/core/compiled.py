"""Decorators that compile a function with numba: for calls from Python, or from compiled code.

numba takes half a second to import, so it is imported when a function is first called.

Functions that call one another stand in one file: numba's cache of a function
does not notice that a function it calls, in another file, has changed.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, update_wrapper
from typing import Any


class Kernel:
    """A function that numba compiles, or loads, at its first call; it runs without the GIL."""

    def __init__(self, function: Callable[..., Any], *, called_from_python: bool) -> None:
        self._function, self._called_from_python = function, called_from_python
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        return self.dispatcher(*arguments)

    @cached_property
    def dispatcher(self) -> Any:
        """What numba makes of the function."""
        import numba

        from nucleipel.core.kernel_cache import KernelCache, cache_folder

        numba.extending.typeof_impl.register(Kernel, _type_of)
        kernel = numba.njit(
            nogil=True,
            error_model="numpy",
            no_cfunc_wrapper=True,
            no_cpython_wrapper=not self._called_from_python,
        )(self._function)
        folder = cache_folder() if self._called_from_python else None
        if folder is not None:
            with suppress(RuntimeError):  # the folder was removed since
                kernel._cache = KernelCache(self._function, folder)
        return kernel


def _type_of(kernel: Kernel, context: Any) -> Any:
    """Type a kernel that another one calls as what numba made of it."""
    from numba.extending import typeof_impl

    return typeof_impl(kernel.dispatcher, context)


def compiled(function: Callable[..., Any]) -> Kernel:
    """Compile a function that Python calls; the result is cached on disk."""
    return Kernel(function, called_from_python=True)


def compiled_inner(function: Callable[..., Any]) -> Kernel:
    """Compile a function that only compiled code calls.

    It has no wrapper for Python, which would take long to compile.
    """
    return Kernel(function, called_from_python=False)
