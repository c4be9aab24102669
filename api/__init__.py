"""The HTTP front door: dialects in, one `orchestrator.submit` behind them."""
