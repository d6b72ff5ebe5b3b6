"""What a run over many tokens will take, from its graph and from rates measured here."""
