"""Attention maps of SegFormers: figures, a page and videos."""
