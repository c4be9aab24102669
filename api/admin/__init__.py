"""`/v1/admin`: what administrators see and do, one small file for each thing, in the OpenAI dialect's words."""
