"""From PackedFaces and a Recipe to a Run: the loop, its state on disk, the running mean, the verdict on health."""
