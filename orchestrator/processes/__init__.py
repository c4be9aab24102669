"""What each process is made of: its parts, and its loops with their pace.

Imports adapters, batches, capacity, config, dispatch, domain, intake, kit, notify, objects, ports, store, telemetry,
tenants.
"""
