"""Tables, plans and pages of very many records."""
