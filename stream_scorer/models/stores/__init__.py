"""Where bundles lie, and what is deployed of them."""
