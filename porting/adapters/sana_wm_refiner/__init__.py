"""SANA-WM's refiner: blocks of a camera-controlled world's latents made sharp, over a sink and a short history."""
