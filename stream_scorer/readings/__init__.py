"""Numbers that are kept where they arise, and that each scrape reads."""
