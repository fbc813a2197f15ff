"""Images in, PackedFaces out: sources, crops, preparation and the batches that training reads."""
