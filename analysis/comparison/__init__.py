"""Two detectors on the same images: what each detects, image by image, and what a resample makes of it."""
