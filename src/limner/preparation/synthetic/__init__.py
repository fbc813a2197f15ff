"""Faces that Limner draws itself: no photo, no download, and the truth of all 40 CelebA attributes.

A face is a `FaceParameters`, sampled from (seed, index) alone; the labels are read off the parameters and the image is
drawn from them, back to front, in *unit coordinates*: the square image is [0, 1] x [0, 1], x to the right, y down, the
eyes at y = 0.455. Crisp shapes are polygons on a canvas several times the wanted size, reduced at the end, which
antialiases them. Soft shading (light, blush, shadow) is a sum of Gaussian spots on a coarse grid, resized onto the
shape: as smooth as a blur of the whole canvas and far cheaper.

`sampling` chooses the parameters, `face` draws them: it calls one file for each part of the image (`background`,
`clothes`, `skin`, `eyes`, `hair`, ...), and these share `portrait` (pose and colours), `canvas` and `geometry`.
"""

from limner.preparation.synthetic.face import draw_face, render
from limner.preparation.synthetic.parameters import ATTRIBUTE_NAMES, FaceParameters, labels
from limner.preparation.synthetic.sampling import sample_parameters

__all__ = ["ATTRIBUTE_NAMES", "FaceParameters", "draw_face", "labels", "render", "sample_parameters"]
