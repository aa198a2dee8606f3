"""Compilers: a component and a profile to an artifact and its attestation, one module a backend."""
