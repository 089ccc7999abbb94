"""The command line: flags in, lines and exit codes out. Every verb is one file with no logic."""
