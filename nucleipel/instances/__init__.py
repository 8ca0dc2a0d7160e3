"""From instance maps to the targets of a network, and from its probability maps to instances.

`training_targets` does the first, `segment_map` the second; the other files are its steps
and what is measured and drawn of nuclei. NumPy, SciPy, OpenCV and numba only.

The public names stand in `__init__.pyi`. Each is imported when it is first used: numba alone
takes a third of a second.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
