"""One loaded CogVideoX: its parts, what makes them quick, and what decides their bits. Knows torch and diffusers."""
