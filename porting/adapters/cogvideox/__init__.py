"""CogVideoX, text to video: clips sampled as a whole, then decoded two latent frames at a time."""
