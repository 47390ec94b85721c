"""Measures of representations and of agreement between results."""
