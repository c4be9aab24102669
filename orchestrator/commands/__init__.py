"""What the commands that are no service do; `orchestrator.cli` names them.

Imports adapters, audit, campaigns, capacity, config, domain, intake, learning, local, notify, policy, ports,
processes, simulator, store, telemetry, tenants.
"""
