"""V-JEPA 2-AC: a frame encoder and an action-conditioned predictor; rolled out, or planned with, in latent space."""
