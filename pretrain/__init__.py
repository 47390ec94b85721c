"""Self-supervised pretraining of ResNet-50: images in, ``backbone.pth`` out."""
