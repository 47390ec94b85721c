"""Losses and the matrix information they are made of: plain functions of tensors."""
