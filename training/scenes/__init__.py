"""Procedurally made scenes, one module a bundled world model, and what the trainer asks of each (`clips`)."""
