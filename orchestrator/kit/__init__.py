"""What any loop needs and no job knows of: loops, threads, scratch files, the clock.

Imports domain, telemetry.
"""
