"""The connection to the brokers: addresses, TLS, SASL and the reasons of failures."""
