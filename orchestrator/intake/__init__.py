"""A request becomes a job: checked, completed, its picture fetched and kept, inserted. What every dialect calls.

Imports adapters, config, domain, kit, learning, pictures, policy, ports, telemetry, tenants.
"""
