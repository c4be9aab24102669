"""Many requests in one file: asked for, taken in, submitted, answered.

Imports config, domain, intake, kit, ports, rows, telemetry.
"""
