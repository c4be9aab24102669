"""Who hears of what has ended, and how it reaches them."""
