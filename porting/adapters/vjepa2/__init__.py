"""V-JEPA 2: a video encoder and a mask predictor; and its action-conditioned predictor for planning, V-JEPA 2-AC."""
