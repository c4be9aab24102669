"""The HTTP front door: dialects in, one `orchestrator.intake.jobs` behind them."""
