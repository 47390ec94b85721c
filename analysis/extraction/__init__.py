"""From a backbone and images to a file of features."""
