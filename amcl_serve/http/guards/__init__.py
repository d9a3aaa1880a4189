"""What every request meets before its route: keys, limits, deadlines."""
