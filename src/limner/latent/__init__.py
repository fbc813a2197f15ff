"""The space that pictures are made from: drawing latents."""
