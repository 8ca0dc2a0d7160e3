"""Compiled kernels are kept where something can be written, and no fault of a cache is an error."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

from nucleipel.core import kernel_cache
from nucleipel.core.kernel_cache import KernelCache, cache_folder

NOWHERE = "/dev/null/nothing"
"""Nothing can be made below it, by root neither."""


@pytest.fixture
def no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A container with a foreign user: no home, and nothing that can be written."""
    assert tmp_path  # made while there is a temporary folder
    cache_folder.cache_clear()
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", NOWHERE)
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    yield monkeypatch
    cache_folder.cache_clear()


def _square(value):
    return value * value


def _kernel(folder: Path):
    kernel = numba.njit(_square)
    kernel._cache = KernelCache(_square, folder)
    return kernel


def _hits(kernel) -> int:
    return sum(kernel.stats.cache_hits.values())


def test_a_folder_that_the_user_names_comes_first(
    no_place: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_place.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    no_place.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder().parent == tmp_path / "mine"
    assert not (tmp_path / "home").exists()


def test_one_that_cannot_be_written_is_reported(
    no_place: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_place.setenv("NUMBA_CACHE_DIR", NOWHERE)
    no_place.setenv("HOME", str(tmp_path))
    assert cache_folder().is_relative_to(tmp_path / ".cache" / "nucleipel")
    assert f"NUMBA_CACHE_DIR={NOWHERE}: nothing can be written there" in caplog.text


def test_a_temporary_folder_is_the_users_alone(
    no_place: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_place.setattr(tempfile, "tempdir", str(tmp_path))
    own = tmp_path / f"nucleipel-{os.getuid()}"
    assert cache_folder().parent == own
    assert own.stat().st_mode & 0o077 == 0
    assert not caplog.records
    own.chmod(0o777)  # anybody could put code there
    cache_folder.cache_clear()
    assert cache_folder() is None


def test_a_link_in_its_place_is_not_followed(no_place: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_place.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "others").mkdir()
    (tmp_path / f"nucleipel-{os.getuid()}").symlink_to(tmp_path / "others")
    assert cache_folder() is None


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME"])
def test_the_users_caches(no_place: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    no_place.setenv(name, str(tmp_path))
    assert cache_folder().is_relative_to(tmp_path)
    assert "nucleipel" in str(cache_folder().relative_to(tmp_path))


def test_without_any_place_everything_runs() -> None:
    code = (
        "from nucleipel.core import kernel_cache; from nucleipel.core.resample import *;"
        "from nucleipel.instances.precompile import precompiling\n"
        "with precompiling(): pass\n"
        "assert kernel_cache.cache_folder() is None"
    )
    environment = {**os.environ, "HOME": NOWHERE, "NUMBA_CACHE_DIR": NOWHERE}
    environment.pop("XDG_CACHE_HOME", None)
    no_temporary = f"import tempfile; tempfile.tempdir = {NOWHERE!r}; {code}"
    done = subprocess.run(
        [sys.executable, "-c", no_temporary], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in done.stderr


def test_other_sources_of_kernels_have_another_folder(
    no_place: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_place.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    sources = tmp_path / "instances"
    sources.mkdir()
    (sources / "block.py").write_text("class Block(NamedTuple): size: int\n")
    no_place.setattr(kernel_cache, "KEYED", (sources,))
    folders = []
    for change in (
        lambda: None,
        lambda: (sources / "block.py").write_text("class Block(NamedTuple): size: float\n"),
        lambda: (sources / "block.py").rename(sources / "part.py"),
    ):
        change()
        cache_folder.cache_clear()
        folders.append(cache_folder())
    assert len(set(folders)) == 3


def test_numbas_own_setting_stays(tmp_path: Path) -> None:
    before = numba.config.CACHE_DIR
    _kernel(tmp_path)
    assert before == numba.config.CACHE_DIR


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"torn", b"\x80\x04cno_such_module\nBlock\n."])
def test_a_torn_or_outdated_file_costs_one_compilation(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    assert _kernel(tmp_path)(3) == 9
    for file in tmp_path.rglob(f"*{suffix}"):
        file.write_bytes(content)
    again, third = _kernel(tmp_path), _kernel(tmp_path)
    assert (again(3), _hits(again)) == (9, 0)
    assert (third(3), _hits(third)) == (9, 1)


def test_an_entry_of_other_argument_types_is_not_used(tmp_path: Path) -> None:
    """As two processes leave it that number their first file alike."""
    floats, whole = tmp_path / "floats", tmp_path / "whole"
    _kernel(floats)(1.5)
    _kernel(whole)(3)
    data = next(floats.rglob("*.nbc"))
    next(whole.rglob("*.nbc")).write_bytes(data.read_bytes())
    kernel = _kernel(whole)
    assert (kernel(3), _hits(kernel)) == (9, 0)


def _without_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def _vanished(folder: Path) -> Callable[..., None]:
    def ensure(*_: object) -> None:
        raise FileNotFoundError(folder)

    return ensure


@pytest.mark.parametrize("fault", [_without_space, _vanished(Path("gone"))])
def test_what_cannot_be_saved_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None]
) -> None:
    kernel = _kernel(tmp_path)
    monkeypatch.setattr(kernel._cache._impl.locator, "ensure_cache_path", fault)
    assert np.array_equal(kernel(np.arange(3)), [0, 1, 4])
    assert not list(tmp_path.rglob("*.nbc"))
