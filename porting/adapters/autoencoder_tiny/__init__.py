"""AutoencoderTiny (TAESD): a small convolutional decoder of image latents, one picture a call, without state."""
