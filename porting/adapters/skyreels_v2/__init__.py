"""SkyReels-V2 with diffusion forcing: long video by overlapping chunks, a noise level for each latent frame."""
