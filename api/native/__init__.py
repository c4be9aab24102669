"""What no vendor has, beside the OpenAI dialect under `/v1`: events, webhooks, pools."""
