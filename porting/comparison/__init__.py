"""Whether one bundle's frames are slower than another's, from both driven in turn on this host."""

from porting.comparison.bundles import Settings, compare_bundles

__all__ = ["Settings", "compare_bundles"]
