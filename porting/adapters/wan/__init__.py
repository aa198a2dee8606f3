"""Wan 2.1 and 2.2, text to video: clips sampled as a whole, then decoded latent frame by latent frame."""
