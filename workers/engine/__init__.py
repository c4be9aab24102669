"""The step loop of one worker and what it decides by: which render moves next, and what becomes of it."""
