"""A request becomes a job: checked, completed, its picture fetched and kept, inserted. What every dialect calls.

Imports adapters, config, domain, kit, pictures, policy, ports, telemetry, tenants.
"""
