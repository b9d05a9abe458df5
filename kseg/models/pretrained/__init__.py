"""Published weights: reading them and copying them into kseg's models."""
