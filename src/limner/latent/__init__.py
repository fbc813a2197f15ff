"""The latent space: sampling latents and attribute vectors."""
