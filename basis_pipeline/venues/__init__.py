"""What the world says: wallets on Ethereum and accounts on exchanges, behind the protocols of domain/observations."""
