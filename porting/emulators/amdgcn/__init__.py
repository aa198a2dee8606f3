"""Executes the assembly that Triton emits for AMD processors, instruction by instruction, as numpy."""
