"""Many requests in one file: asked for, taken in, submitted, answered.

Imports config, domain, intake, kit, policy, ports, rows, telemetry, tenants.
"""
