"""From PackedFaces and a Recipe to a Run: the loop, its state on disk, the EMA, the verdict on health."""
