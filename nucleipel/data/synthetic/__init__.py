"""Generated slides with their annotation: for the demo, tests and benchmarks.

`scene`: a small H&E image at once. `slide`: a slide of any size, made box by
box from a `ground`, a square of `tissue` in a `layout`, `pieces` and `artifacts`.
`probability_map`: what a network would make of a slide.
"""

from nucleipel.data.synthetic.artifacts import CoverslipEdge, Dust, Hair, Pen, Void
from nucleipel.data.synthetic.background import BrightGround, DarkGround
from nucleipel.data.synthetic.generated_slide import Piece, SyntheticSlide
from nucleipel.data.synthetic.laid_tissue import SingleNuclei
from nucleipel.data.synthetic.layout import Cores, Islands, Sections
from nucleipel.data.synthetic.scene import Scene, build_scene
from nucleipel.data.synthetic.tissue import Tissue, build_tissue

__all__ = [
    "BrightGround",
    "Cores",
    "CoverslipEdge",
    "DarkGround",
    "Dust",
    "Hair",
    "Islands",
    "Pen",
    "Piece",
    "Scene",
    "Sections",
    "SingleNuclei",
    "SyntheticSlide",
    "Tissue",
    "Void",
    "build_scene",
    "build_tissue",
]
