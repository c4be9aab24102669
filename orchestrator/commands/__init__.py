"""What the commands that are no service do; `orchestrator.cli` names them.

Imports adapters, capacity, config, domain, local, notify, ports, store, tenants.
"""
