"""The models that come with kseg, a folder each (kseg.published_models)."""
