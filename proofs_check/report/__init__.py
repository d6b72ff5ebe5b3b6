"""The report of a campaign: one self-contained web page, Markdown, JSON with a schema, JUnit."""
