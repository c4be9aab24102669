"""What a picture file is, told by its own bytes, and how one is opened. Pure but for Pillow.

Imports domain.
"""
