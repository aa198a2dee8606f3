"""Causal Wan: chunks of video denoised in few steps, each looking back at the keys and values of those before it."""
