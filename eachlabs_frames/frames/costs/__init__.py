"""What rows cost: an estimate beforehand, a person asked for consent, and the bill afterwards."""
