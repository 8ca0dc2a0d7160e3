"""nucleipel in Python: arrays in, arrays out. `import nucleipel` has the names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["datasets", "guests"])
