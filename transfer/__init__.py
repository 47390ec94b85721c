"""Transfer of pretrained backbones: conversion to Detectron2, Mask R-CNN fine-tuning, classification probes."""

import warnings

# Detectron2 decorates functions with torch.jit.script when it is imported; recent torch says so at every start.
warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
