"""AnyFlow FAR: chunks of latent frames denoised one after another, recent chunks kept whole, older ones compressed."""
