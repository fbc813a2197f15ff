"""One training, as a folder that a person can read."""
