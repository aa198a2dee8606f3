"""Cosmos Predict 2 and 2.5, video to world: chunks of video from the last frames of the chunk before and a prompt."""
