"""The console: its page and files, who is signed in to it, and how people sign in."""
