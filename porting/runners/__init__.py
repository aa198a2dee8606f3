"""Runners: a compiled artifact as a callable on named buffers, one module a backend."""
