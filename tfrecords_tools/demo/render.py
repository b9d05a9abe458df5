"""Draws a Scene from back to front."""

import numpy as np

from tfrecords_tools.demo.canvas import Canvas
from tfrecords_tools.demo.effects import add_glow, apply_camera, draw_bonnet, draw_reflections
from tfrecords_tools.demo.ground import draw_ground
from tfrecords_tools.demo.mask import draw_mask
from tfrecords_tools.demo.objects import draw_objects
from tfrecords_tools.demo.scene import Scene
from tfrecords_tools.demo.sky import draw_sky


def render(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Returns the image uint8 (h, w, 3) RGB and the mask uint8 (h, w) of the scene."""
    canvas = Canvas(scene)
    draw_sky(canvas)
    draw_ground(canvas)
    draw_objects(canvas)
    if scene.light.wet:
        draw_reflections(canvas)
    if scene.bonnet:
        draw_bonnet(canvas, scene.bonnet)
    add_glow(canvas)
    return apply_camera(canvas), draw_mask(scene, canvas.obstacles)
