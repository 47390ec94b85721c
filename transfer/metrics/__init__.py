"""Predictions kept, and figures from them by the metric of each data set."""
