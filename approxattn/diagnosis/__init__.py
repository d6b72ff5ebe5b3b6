"""Which method can work on given data, what it would cost, and the page that says so."""
