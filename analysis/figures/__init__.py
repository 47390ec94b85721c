"""Charts as Vega-Lite specifications: interactive in the report, SVG and PNG beside it, in one palette."""
