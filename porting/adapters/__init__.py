"""Adapters: a checkpoint family to a `WorldModel`, one package a family."""
