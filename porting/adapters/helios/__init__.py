"""Helios: video in chunks, each denoised beside what came before it at three scales, with Wan's autoencoder."""
