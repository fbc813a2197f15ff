"""Judging generators honestly: features, distances between sets of them, attribute control, memorisation, protocols."""
