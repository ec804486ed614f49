"""The Acme Trio, a hand that does not exist, as a driver for dexhil."""
