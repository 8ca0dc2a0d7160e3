"""`import nucleipel` gives all names, and imports nothing heavy until one is used."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import nucleipel
import nucleipel.api

MODULES = [
    f"nucleipel.api.{module.name}" for module in pkgutil.iter_modules(nucleipel.api.__path__)
]


def test_every_name_is_there():
    for name in nucleipel.__all__:
        assert getattr(nucleipel, name) is not None
        assert name in dir(nucleipel)
    assert callable(nucleipel.segment)
    assert callable(nucleipel.metrics.pool)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="No nucleipel attribute segmant"):
        nucleipel.segmant  # noqa: B018


def test_nothing_heavy_is_imported():
    program = (
        "import sys, nucleipel; heavy = {'torch', 'numpy', 'zarr', 'pydantic', 'click'};"
        " print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
