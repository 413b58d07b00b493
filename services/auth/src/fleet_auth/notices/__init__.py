"""What an owner is told by mail after it was done to his account: whoever did it otherwise than him is found out."""
