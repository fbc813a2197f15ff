"""Images to look at: grids, PNG files with their provenance, plots of curves."""
