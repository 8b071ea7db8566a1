"""Trains the tiny demo guard that ships in the package, from text that the project wrote itself."""
