"""From a Scene to its picture and mask, back to front."""

from tfrecords_tools.demo.drawing import Drawing
from tfrecords_tools.demo.ground import draw_ground
from tfrecords_tools.demo.lens import add_glow, develop, draw_bonnet, draw_reflections
from tfrecords_tools.demo.mask import draw_mask
from tfrecords_tools.demo.objects import draw_objects
from tfrecords_tools.demo.sky import draw_sky


def render(scene):
    """Returns picture uint8 (h, w, 3) RGB and mask uint8 (h, w) of the scene."""
    drawing = Drawing(scene)
    draw_sky(drawing)
    draw_ground(drawing)
    draw_objects(drawing)
    if scene.light.wet:
        draw_reflections(drawing)
    if scene.bonnet:
        draw_bonnet(drawing)
    add_glow(drawing)
    return develop(drawing), draw_mask(scene, drawing.solid)
