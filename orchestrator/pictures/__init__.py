"""What a picture file is, told by its own bytes, and how one is opened. Pillow is kept away by `apart.py`.

Imports confined, domain, telemetry.
"""
