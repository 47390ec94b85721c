"""Images: data sets, the views of an image, and the drawn scenes."""
