"""What families share: the rounds of their games, critics, stabilisers."""
