"""Reports as HTML pages that need no script and no network."""
