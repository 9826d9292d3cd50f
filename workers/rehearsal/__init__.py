"""Plans: the very workflow that would run, rehearsed on a server that skips time, with a cloud that makes up answers."""
