"""The load generator: arrival schedules, prompts, the streaming client and its own health."""
