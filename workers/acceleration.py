"""How a loaded transformer is made quick: attention backend, compiled block, 8-bit linears, step cache."""
