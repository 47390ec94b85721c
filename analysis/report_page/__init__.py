"""The report: one HTML page that stands alone, a file here for each of its sections."""
