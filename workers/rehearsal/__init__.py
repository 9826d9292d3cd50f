"""Plans: the very workflow that would run, rehearsed on a server that skips time, by a cloud of made-up answers."""
