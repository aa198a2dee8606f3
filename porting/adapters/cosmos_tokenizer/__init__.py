"""Cosmos tokenizer, continuous: clips of pictures to latents and back, each clip by itself."""
