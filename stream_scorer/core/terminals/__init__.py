"""The delayed history of terminals, and how its rows are made from transactions and labels."""
