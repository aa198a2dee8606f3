"""Trains the bundled world models: scenes, recipes, one trainer, and the measures that say that a model learned."""
