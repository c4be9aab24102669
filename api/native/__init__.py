"""What no vendor has, beside the OpenAI dialect under `/v1`: events, campaigns, usage, webhooks, pools, the fleet."""
