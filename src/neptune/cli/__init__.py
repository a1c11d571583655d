"""The programs: arguments and environment into settings, settings into a running system, results into exit codes."""
