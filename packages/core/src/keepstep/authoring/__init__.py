"""What workflow authors write with: definitions, steps, events, registries. Runs nothing and stores nothing."""
