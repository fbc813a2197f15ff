"""What the players of the game minimise."""
