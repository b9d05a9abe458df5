"""Published weights: reading files and copying them into our layers."""
