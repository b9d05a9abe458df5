"""Overlays, panels, videos and HTML pages."""
