"""What any loop needs and no job knows of: loops, threads, readings, scratch files, the clock, imports.

Imports domain, telemetry.
"""
