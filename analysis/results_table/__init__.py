"""The table of results: its model, how it is built from records, significance, and its formats."""
