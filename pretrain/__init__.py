"""Self-supervised pretraining of a backbone: images in, ``backbone.pth`` out."""
