"""SANA-WM's first stage: clips of a world under a camera's path, by gated delta rules over frames."""
