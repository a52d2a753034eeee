"""Linear maps on images and latents. Knows arrays only (numpy, torch, any array-API library)."""
