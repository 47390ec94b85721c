"""Transfer of pretrained backbones: conversion to Detectron2, Mask R-CNN fine-tuning, classification probes."""

import logging
import warnings

# Detectron2 is older than the torch it runs on, and torch says so at every start. Nothing here can be acted upon.
for message in (".*torch.jit.script", "torch.meshgrid", "The given NumPy array", ".broadcast_buffers. is deprecated"):
    warnings.filterwarnings("ignore", message=message)
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
