"""The GWM reference family: a frame-causal, action-conditioned latent diffusion world model."""
