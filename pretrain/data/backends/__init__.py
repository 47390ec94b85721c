"""Three ways to make the same view from the same `Parameters`: Pillow, OpenCV, and torch for a batch at a time."""
