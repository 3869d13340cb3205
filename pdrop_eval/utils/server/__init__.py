"""Servers: bounded requests, chat completions, and the settings of both."""
