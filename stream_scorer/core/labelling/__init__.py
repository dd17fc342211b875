"""What is known of a transaction: statements about it, and what counts where there is none."""
