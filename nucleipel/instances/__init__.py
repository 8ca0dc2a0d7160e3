"""From instance maps to the targets of a network, and from its probability maps to instances.

`training_targets` does the first, `segment_map` the second; the other files are its steps
and what is measured and drawn of nuclei. NumPy, SciPy, OpenCV and numba only.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleipel.instances.certificate import Certificate
    from nucleipel.instances.instance_rule import InstanceRule
    from nucleipel.instances.nucleus_table import NucleusTable
    from nucleipel.instances.segment_map import Instances, segment_instances

__all__ = ["Certificate", "InstanceRule", "Instances", "NucleusTable", "segment_instances"]
_HOMES = {
    "Certificate": "certificate",
    "InstanceRule": "instance_rule",
    "Instances": "segment_map",
    "NucleusTable": "nucleus_table",
    "segment_instances": "segment_map",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: numba alone takes a third of a second."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
