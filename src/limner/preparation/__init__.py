"""`limner prepare`: from any source of images to a PackedFaces."""
