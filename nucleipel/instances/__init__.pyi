from .certificate import Certificate as Certificate
from .instance_rule import InstanceRule as InstanceRule
from .nucleus_table import NucleusTable as NucleusTable
from .segment_map import Instances as Instances
from .segment_map import segment_instances as segment_instances
