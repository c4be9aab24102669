"""What each process is made of: its parts, and its loops with their pace.

Imports adapters, audit, batches, campaigns, capacity, config, dispatch, domain, intake, kit, learning, notify, objects,
ports, rolling, rows, store, telemetry, tenants.
"""
