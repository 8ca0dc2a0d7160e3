from . import errors as errors
from . import losses as losses
from . import metrics as metrics
from .api import datasets as datasets
from .api import guests as guests
from .api.merge import stitch_instances as stitch_instances
from .api.model import Model as Model
from .api.model import load as load
from .api.pipeline import evaluate as evaluate
from .api.pipeline import finetune as finetune
from .api.pipeline import finetune_patches as finetune_patches
from .api.pipeline import suggest as suggest
from .api.pipeline import tile as tile
from .api.pipeline import train as train
from .api.results import ArrayResult as ArrayResult
from .api.results import LabelsResult as LabelsResult
from .api.results import Report as Report
from .api.results import SlideResult as SlideResult
from .api.segment import segment as segment
from .api.segment import segment_slide as segment_slide
from .api.stitch import stitch_probabilities as stitch_probabilities
from .losses import PELoss as PELoss

__version__: str
