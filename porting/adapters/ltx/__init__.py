"""LTX-Video, text to video: clips sampled as a whole, and decoded as a whole by a decoder that looks both ways."""
