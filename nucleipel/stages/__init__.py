"""Each stage is the guts of one command: it reads as the story of what the command does."""
