"""Trains the bundled world model: scenes, data, recipe and evaluation."""
