"""Carry experiments out and keep what they found: campaigns, workers, evidence, replay."""
