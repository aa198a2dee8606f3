"""Matrix-Game 2: causal Wan that is steered with keyboard and mouse, from a picture that opens the world."""
