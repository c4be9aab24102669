"""What the commands that are no service do; `orchestrator.cli` names them."""
