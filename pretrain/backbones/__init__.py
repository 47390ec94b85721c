"""The networks that are pretrained and transferred."""
