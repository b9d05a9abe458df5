"""What a SegFormer looks at, as pictures, a page to click on, and a video."""
