"""What each process is made of: its parts, and its loops with their pace."""
