"""From the names of each family of networks to Detectron2's, one file per family.

A format (``formats.py``) says how a published file calls the tensors of a network, in the names of its family:
torchvision's for ResNets, timm's for ViTs and for everything else that timm has. A family says what becomes of them in
Detectron2, and proves it.
"""
