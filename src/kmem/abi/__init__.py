"""Facts about kernel releases: flags, struct layouts, addresses, exported symbols. No behaviour lives here."""
