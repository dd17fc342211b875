"""What a gateway follows in Kafka: plans, scorers, the ends of the decisions, single records."""
