"""The folder where numba keeps compiled kernels, and a cache whose faults cost no more than time.

In order: NUMBA_CACHE_DIR where it is set, the user's cache folder, a folder of
the user in the system's temporary one. The first that can be written is used;
if none can, kernels are compiled in every process. Inside it, what was compiled
from other sources, by another numba or for another processor lies in a folder
of another name: numba's own key sees neither a change of the named tuples that a
kernel takes, nor the options it is compiled with.
"""

import hashlib
import logging
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent.parent
KEYED = (PACKAGE / "instances", PACKAGE / "core" / "compiled.py")
"""Sources of the types that kernels take, and of the options of the compiler."""


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function; what it cannot load is compiled, what it cannot save is lost.

    Processes need no lock. Files are replaced as a whole, and where two of them
    number their files alike, an entry of other argument types is not used.

    Raises
    ------
    RuntimeError
        If numba finds no place for it.
    """

    def __init__(self, function: Any, folder: Path) -> None:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:  # only the constructor reads it
            super().__init__(function)
        finally:
            numba.config.CACHE_DIR = before

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load what was compiled for some argument types; None if that cannot be done."""
        try:
            loaded = super().load_overload(sig, target_context)
        except Exception as error:  # a torn file raises anything
            log.debug("%s: not loaded: %r", self, error)
            with suppress(OSError):
                self.flush()  # else nothing could be saved in its place
            return None
        types = getattr(sig, "args", sig)
        return loaded if loaded and tuple(loaded.signature.args) == tuple(types) else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save what was compiled, if that can be done."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, a folder that was removed, a torn index
            log.debug("%s: not saved: %r", self, error)


@cache
def cache_folder() -> Path | None:
    """The folder for this version of the kernels; None if nothing can be written anywhere."""
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    own = "nucleipel-" + _key()
    places = [Path(wanted) / own] if wanted else []
    with suppress(RuntimeError):  # no HOME, and no entry of this user
        places.append(_user_caches() / "nucleipel" / "kernels" / own)
    for place in places:
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            return _writable(place)
        if wanted and place == places[0]:
            log.warning("NUMBA_CACHE_DIR=%s: nothing can be written there; it is not used", wanted)
    with suppress(OSError):
        return _writable(_private(Path(tempfile.gettempdir()) / f"nucleipel-{os.getuid()}") / own)
    log.warning(
        "no folder for compiled code: it is compiled again in each run, some 15 s;"
        " set NUMBA_CACHE_DIR to a folder that can be written"
    )
    return None


def _key() -> str:
    cpu = llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()
    digest = hashlib.sha256(repr((numba.__version__, llvmlite.__version__, cpu)).encode())
    for place in KEYED:
        for source in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _user_caches() -> Path:
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"


def _private(folder: Path) -> Path:
    """Make a folder that no other user can have written to: code is loaded from it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _writable(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder
