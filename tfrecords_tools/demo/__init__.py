"""Procedural road scenes in BDD100K's folder layout: python -m tfrecords_tools.demo.

Reading order: dataset.py writes the folder; sample_scene.py chooses the parameters of a scene
(scene.py) and its camera (geometry.py); render.py draws its image; mask.py draws its labels.
"""
