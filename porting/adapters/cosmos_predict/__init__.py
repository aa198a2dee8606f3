"""Cosmos Predict, video to world: chunks of video from the last frames of the chunk before and a prompt."""
