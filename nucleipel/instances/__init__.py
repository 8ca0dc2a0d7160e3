"""Instance maps and the class maps a network learns: targets one way, segmentation the other.

`targets` turns an instance map into classes; `segment` turns predicted class
probabilities back into instances. NumPy, SciPy, OpenCV and numba only.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleipel.instances.certificate import Certificate
    from nucleipel.instances.nucleus_table import NucleusTable
    from nucleipel.instances.rule import InstanceRule
    from nucleipel.instances.segment import Instances, segment_instances

__all__ = ["Certificate", "InstanceRule", "Instances", "NucleusTable", "segment_instances"]
_HOMES = {
    "Certificate": "certificate",
    "InstanceRule": "rule",
    "Instances": "segment",
    "NucleusTable": "nucleus_table",
    "segment_instances": "segment",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: numba alone takes a third of a second."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
