"""Measures that tell a model that learned its scenes from one that copies, erases or ignores."""
