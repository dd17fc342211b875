"""Watching consumer groups from outside: lag, age, verdicts and the service level objective."""
