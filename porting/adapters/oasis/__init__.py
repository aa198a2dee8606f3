"""Oasis: a diffusion transformer over a window that is computed anew for every frame, and a ViT autoencoder."""
