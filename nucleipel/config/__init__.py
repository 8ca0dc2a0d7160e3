"""Typed, frozen settings, one class a stage, filled from YAML files and `--set`.

The names stand in `__init__.pyi`. Each is imported when it is first used: all of them take .2 s.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
