"""What a person runs first when something is wrong or slow: what is installed, what the machine can do, what waits."""
