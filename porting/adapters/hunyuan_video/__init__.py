"""HunyuanVideo, text to video: clips sampled as a whole, then decoded in pieces that are blended in time."""
