"""TAEHV: a tiny decoder of video latents that keeps one activation a block; an implementation of the project's own."""
