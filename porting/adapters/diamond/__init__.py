"""DIAMOND: a diffusion world model of four observations and actions, with its reward and end model."""
