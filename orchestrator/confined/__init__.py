"""What a library in C makes of users' bytes, in a process of its own that can do nothing else.

The parent's part is `child.py`; the others are the child's, and import little: a child has to start quickly.

Imports domain, telemetry.
"""
