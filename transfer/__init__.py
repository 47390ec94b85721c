"""Transfer of pretrained backbones: conversion to Detectron2, Mask R-CNN fine-tuning, classification probes."""
