"""CogVideoX's attention with the backend that was chosen: diffusers' own processor takes no notice of any."""
