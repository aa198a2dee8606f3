"""Stage order, resume and progress: from a checkpoint to a verdict, and the same again from a bundle alone."""
