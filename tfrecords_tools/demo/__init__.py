"""Procedural road scenes in BDD100K's folder layout: python -m tfrecords_tools.demo.

Reading order: dataset.py writes the folder; sample.py draws a scene's parameters (scene.py, seen
through the camera of geometry.py); mask.py labels it; render.py draws it.
"""
