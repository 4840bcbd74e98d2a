"""What a server's certificate says, in words."""
